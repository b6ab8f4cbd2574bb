-- Requests that could not be handled, exactly as they came, until an operator replays or discards them.
create table dead_letters (
    id              bigint      generated always as identity primary key,
    subject         text        not null, -- where it came from
    reason          text        not null, -- why it could not be handled
    stream_sequence bigint      not null, -- its sequence in the stream it came from
    headers         bytea       not null, -- header block as received; bytes, since text holds neither NUL nor bad UTF-8
    body            bytea       not null, -- body as received
    digest          bytea       not null unique, -- SHA-256 over subject, sequence, headers and body: a redelivery is kept once
    received_at     timestamptz not null default clock_timestamp(),
    resolved_at     timestamptz,          -- when an operator ended it
    resolution      text        check (resolution in ('replayed', 'discarded')),
    check ((resolved_at is null) = (resolution is null))
);
create index dead_letters_open on dead_letters (id) where resolved_at is null;
