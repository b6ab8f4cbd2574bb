-- The simulated bank's own books. It stands in for a bank elsewhere: its transactions are its own, and nothing joins
-- these tables with the ledger.
create table simulated_charges (
    key        uuid        primary key, -- the idempotency key
    value      text        not null,    -- decimal text, as a bank would be sent it
    currency   text        not null,
    invoice    text        not null,    -- what the statement shows
    status     text        not null check (status in ('succeeded', 'declined')),
    reason     text,                    -- why it was declined
    reference  text        not null,    -- the bank's own name for it
    created_at timestamptz not null default clock_timestamp()
);

-- Which keys have had the trouble that their amount brings once.
create table simulated_faults (
    key        uuid        primary key,
    created_at timestamptz not null default clock_timestamp()
);
