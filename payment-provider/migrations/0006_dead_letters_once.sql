-- A message that is sent again and refused again is one letter that was received several times.
alter table dead_letters
    add column times integer not null default 1, -- how often it was received
    add column last_received_at timestamptz not null default clock_timestamp();
comment on column dead_letters.digest is
    'SHA-256 over what makes a message the same when it comes again: subject, body, and its Nats-Msg-Id without the send number; without one, its place in the stream';
