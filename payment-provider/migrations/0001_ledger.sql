-- Every payment payment-provider was ever asked to make, one row each. A row is written before the bank is called and
-- finished after it has answered; outcomes are published from finished rows only.
create table ledger (
    payment_id        uuid        primary key,  -- the request's payment; also the bank's idempotency key
    invoice_id        uuid        not null,     -- the invoice it pays
    request_hash      bytea       not null check (octet_length(request_hash) = 32), -- SHA-256 over what must not differ
    amount_minor      bigint      not null check (amount_minor > 0), -- minor units of the currency
    currency          text        not null check (currency ~ '^[A-Z]{3}$'), -- ISO 4217
    invoice_number    text        not null,     -- what the bank statement shows
    attempt           bigint      not null,     -- which attempt at the invoice the sender says it is
    status            text        not null check (status in ('started', 'succeeded', 'declined')),
    reason            text,                     -- why it was declined
    gateway_reference text,                     -- the bank's own name for the payment
    tries             integer     not null default 0, -- calls and look-ups that ended without a known result
    lease_token       uuid,                     -- who may call the bank now; null: nobody does
    lease_until       timestamptz,              -- until when, by this database's clock
    traceparent       text,                     -- the first request's trace, continued by the outcome
    created_at        timestamptz not null default clock_timestamp(), -- start of the bank's key retention
    updated_at        timestamptz not null default clock_timestamp(),
    settled_at        timestamptz,              -- when it was finished
    check ((status = 'started') = (settled_at is null)),
    check ((status = 'declined') = (reason is not null)),
    check (status = 'started' or lease_token is null)
) with (
    -- Each row is inserted, updated once within seconds, and then never again: leave room for that update on the page,
    -- and vacuum by the small churn of a busy hour, not by a fifth of a table that only grows.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);

-- The rows an operator looks at and the gauges count; stays tiny however large the ledger grows.
create index ledger_open on ledger (created_at) where status = 'started';

-- Who ended a payment by hand, when, and on what grounds. Written in the transaction that ends it.
create table ledger_resolutions (
    id          bigint      generated always as identity primary key,
    payment_id  uuid        not null references ledger (payment_id),
    status      text        not null check (status in ('succeeded', 'declined')), -- what was decided
    reason      text        not null,  -- the operator's words
    resolved_by text        not null,  -- the operator
    bank_said   text        not null,  -- what the look-up just before it answered
    resolved_at timestamptz not null default clock_timestamp()
);
create index ledger_resolutions_payment on ledger_resolutions (payment_id);
