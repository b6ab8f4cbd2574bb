-- What paying an invoice leaves behind, whichever peer pays it: its row says so, and there is a payment.
create table invoices (
    id           uuid        primary key,
    number       text        not null unique,
    amount_minor bigint      not null,
    currency     text        not null,
    status       text        not null default 'unpaid',
    paid_at      timestamptz
) with (fillfactor = 45); -- as invoice-app has it, so that a change of status touches no index

create table payments (
    id           uuid        primary key default uuidv7(),
    invoice_id   uuid        not null unique,
    amount_minor bigint      not null,
    currency     text        not null,
    reference    text        not null,
    created_at   timestamptz not null default clock_timestamp()
);
