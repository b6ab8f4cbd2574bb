-- Invoices, the attempts to pay them, and what it takes to ask for a payment exactly once.

create sequence invoice_numbers;
comment on sequence invoice_numbers is 'Last number tried for invoices that come without one; taken numbers are skipped.';

create table invoices (
    id              uuid        primary key,
    number          text        collate "C" not null unique,
    amount_minor    bigint      not null check (amount_minor between 1 and 1000000000000000),
    currency        text        collate "C" not null check (currency ~ '^[A-Z]{3}$'),
    status          text        collate "C" not null default 'unpaid'
                                check (status in ('unpaid', 'pending', 'paid', 'void')),
    attempts        integer     not null default 0,
    last_payment_id uuid,
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz not null default clock_timestamp(),
    paid_at         timestamptz,
    voided_at       timestamptz,
    check ((status = 'void') = (voided_at is not null))
) with (
    -- Half of each page is kept free, and no index looks at what paying changes: so both changes of status stay on their
    -- page and touch no index (HOT), even when one statement pays every invoice there is.
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

comment on table invoices is 'What is owed. Listed in id order, which is the order of creation.';
comment on column invoices.id is 'UUIDv7.';
comment on column invoices.number is 'The human reference: 1 to 64 visible characters.';
comment on column invoices.amount_minor is 'Whole minor units of the currency: cents, yen, fils.';
comment on column invoices.currency is 'ISO 4217 code.';
comment on column invoices.status is 'unpaid -> pending -> paid; pending -> unpaid when declined; unpaid -> void.';
comment on column invoices.attempts is 'How many payments were made for it, whatever became of them.';
comment on column invoices.last_payment_id is 'The latest of its payments.';
comment on column invoices.created_at is 'When it was created.';
comment on column invoices.updated_at is 'When its status changed last.';
comment on column invoices.paid_at is 'When the provider finished the payment that succeeded.';
comment on column invoices.voided_at is 'When it was voided.';

create index invoices_void on invoices (id) where voided_at is not null;

create table unpaid_invoices (
    invoice_id uuid primary key
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

comment on table unpaid_invoices is
    'The unpaid ones, to find them among many paid. A table and not a partial index over status: that would put an entry into every index of invoices whenever one is paid. Whoever pays or voids takes the row away first.';
comment on column unpaid_invoices.invoice_id is 'The invoice. invoices.status decides; a row too many here changes nothing.';

-- However an invoice comes to be unpaid, it can be found.
create function list_unpaid() returns trigger language plpgsql as $$
begin
    insert into unpaid_invoices (invoice_id) select id from added where status = 'unpaid' on conflict do nothing;
    return null;
end
$$;
create trigger list_unpaid after insert on invoices
    referencing new table as added for each statement execute function list_unpaid();

create function list_unpaid_again() returns trigger language plpgsql as $$
begin
    insert into unpaid_invoices (invoice_id) values (new.id) on conflict do nothing;
    return null;
end
$$;
create trigger list_unpaid_again after update of status on invoices
    for each row when (new.status = 'unpaid' and old.status <> 'unpaid') execute function list_unpaid_again();

create table payment_batches (
    id               uuid        primary key,
    requested        bigint      not null,
    paid             bigint      not null default 0,
    declined         bigint      not null default 0,
    first_payment_id uuid,
    last_payment_id  uuid,
    traceparent      text,
    skipped          text        not null default '[]',
    created_at       timestamptz not null default clock_timestamp()
) with (fillfactor = 10);

comment on table payment_batches is 'One row for each call that paid several invoices.';
comment on column payment_batches.id is 'UUIDv7.';
comment on column payment_batches.requested is 'How many payments the call made.';
comment on column payment_batches.paid is 'How many of them succeeded; counted in the transactions that settle them.';
comment on column payment_batches.declined is 'How many of them were declined; counted likewise.';
comment on column payment_batches.first_payment_id is 'The first of them: with the last, where to find them among all payments.';
comment on column payment_batches.last_payment_id is 'The last of them.';
comment on column payment_batches.traceparent is 'W3C trace context of the call, for all of them.';
comment on column payment_batches.skipped is
    'What the call asked for and did not get, as the JSON array it was answered with. Text, since json refuses nothing we need and jsonb refuses NUL.';
comment on column payment_batches.created_at is 'When the call was made.';

create table payments (
    id                 uuid        primary key,
    invoice_id         uuid        not null,
    batch_id           uuid,
    attempt            integer     not null,
    status             text        collate "C" not null default 'requested'
                                   check (status in ('requested', 'succeeded', 'declined')),
    reason             text,
    provider_reference text,
    traceparent        text,
    created_at         timestamptz not null default clock_timestamp(),
    settled_at         timestamptz,
    sends              integer     not null,
    last_sent_at       timestamptz,
    next_send_at       timestamptz not null,
    check ((status = 'requested') = (settled_at is null))
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

comment on table payments is 'Attempts to pay. A requested row is the outbox: it is sent until its outcome arrives.';
comment on column payments.id is 'UUIDv7; the idempotency key all the way to the bank.';
comment on column payments.invoice_id is
    'The invoice being paid. No foreign key: the row is written in the statement that moves its invoice, and invoices are never deleted.';
comment on column payments.batch_id is 'The call it belongs to, if that paid several; written in the same transaction.';
comment on column payments.attempt is 'Counts the payments of one invoice from 1.';
comment on column payments.status is 'requested -> succeeded | declined, once.';
comment on column payments.reason is 'Why it was declined.';
comment on column payments.provider_reference is 'The bank''s reference.';
comment on column payments.traceparent is 'W3C trace context of the call that asked for it; null when its batch has it.';
comment on column payments.created_at is 'When it was requested; sent as requested_at.';
comment on column payments.settled_at is 'When the provider finished it.';
comment on column payments.sends is 'How often it was handed to NATS, or was about to be.';
comment on column payments.last_sent_at is 'When that was last; null when it is known or feared not to have arrived.';
comment on column payments.next_send_at is 'A lease: until then whoever moved it last is sending it.';

-- What makes a second payment of one invoice impossible, whoever asks and however often.
create unique index payments_one_live on payments (invoice_id) where status in ('requested', 'succeeded');
-- The others of an invoice. Few payments are declined, so this costs the many nothing.
create index payments_declined on payments (invoice_id, attempt) where status = 'declined';
create index payments_due on payments (next_send_at) where status = 'requested';

create table idempotency_keys (
    principal   text        not null,
    key         text        not null,
    fingerprint bytea       not null,
    status      smallint,
    location    text,
    body        text,
    payment_id  uuid,
    batch_id    uuid,
    created_at  timestamptz not null default clock_timestamp(),
    primary key (principal, key)
);

comment on table idempotency_keys is 'Calls that took effect, kept for 24 hours; written in the transaction of their effect.';
comment on column idempotency_keys.principal is 'Who called: the token''s name.';
comment on column idempotency_keys.key is 'The Idempotency-Key header.';
comment on column idempotency_keys.fingerprint is 'SHA-256 over method, path and body.';
comment on column idempotency_keys.status is 'The answer''s status, where the answer itself is kept.';
comment on column idempotency_keys.location is 'The answer''s Location.';
comment on column idempotency_keys.body is 'The answer''s body.';
comment on column idempotency_keys.payment_id is 'The payment made; a repeat is answered with its present state.';
comment on column idempotency_keys.batch_id is 'The batch made; a repeat is answered with its present state.';
comment on column idempotency_keys.created_at is 'When the call took effect.';

create index idempotency_keys_by_age on idempotency_keys (created_at);

create unlogged table import_lines (
    import_id    uuid        not null,
    line         bigint      not null,
    number       text        collate "C",
    amount_minor bigint      not null,
    currency     text        not null,
    received_at  timestamptz not null default clock_timestamp(),
    primary key (import_id, line)
);

comment on table import_lines is
    'Lines of imports under way. Unlogged: they become invoices all together when the last has arrived, or are forgotten.';
comment on column import_lines.import_id is 'The import.';
comment on column import_lines.line is 'The line, from 1.';
comment on column import_lines.number is 'The number asked for; null when any will do.';
comment on column import_lines.amount_minor is 'As in invoices.';
comment on column import_lines.currency is 'As in invoices.';
comment on column import_lines.received_at is 'When it was read; old ones belong to imports that were cut off.';

create table nats_created (
    name    text        primary key,
    created timestamptz not null
);

comment on table nats_created is 'When NATS made the stream and the durables it keeps for us. Another time means that it has forgotten.';
comment on column nats_created.name is 'The stream or durable.';
comment on column nats_created.created is 'Its creation time, as last seen.';

create table sender_patience (
    only_row   boolean          primary key default true check (only_row),
    median_ms  double precision not null,
    updated_at timestamptz      not null default clock_timestamp()
);

comment on table sender_patience is 'How long outcomes take at the moment: sending again is for loss, not for slowness.';
comment on column sender_patience.only_row is 'There is one row.';
comment on column sender_patience.median_ms is 'Median time from the last send to the outcome, over the latest settled payments.';
comment on column sender_patience.updated_at is 'When it was measured.';

create table dead_letters (
    id              bigint      generated always as identity primary key,
    subject         text        not null,
    reason          text        not null,
    stream_sequence bigint      not null,
    headers         bytea       not null,
    body            bytea       not null,
    digest          bytea       not null unique,
    received_at     timestamptz not null default clock_timestamp(),
    resolved_at     timestamptz,
    resolution      text        check (resolution in ('replayed', 'discarded'))
);

comment on table dead_letters is 'Messages that could not be handled, as they came, for an operator to replay or discard.';
comment on column dead_letters.id is 'How an operator names it.';
comment on column dead_letters.subject is 'Where it came from.';
comment on column dead_letters.reason is 'Why it could not be handled.';
comment on column dead_letters.stream_sequence is 'Its sequence in the stream.';
comment on column dead_letters.headers is 'The header block as received; bytes, since text holds neither NUL nor bad UTF-8.';
comment on column dead_letters.body is 'The body as received.';
comment on column dead_letters.digest is 'SHA-256 over subject, sequence, headers and body: a redelivery is kept once.';
comment on column dead_letters.received_at is 'When it was put here.';
comment on column dead_letters.resolved_at is 'When an operator ended it.';
comment on column dead_letters.resolution is 'How: replayed or discarded.';
