-- Payments are named by what they are, an attempt to pay an invoice, and no longer by chance: whoever forgot them names them
-- the same again. Those that there are keep their ids.

create function payment_id(invoice uuid, attempt integer) returns uuid
    language sql immutable strict parallel safe
    return overlay(overlay(invoice::text placing '8' from 15 for 1)
                   placing lpad(to_hex(attempt), 4, '0') from 33 for 4)::uuid;
comment on function payment_id is
    'The id of an attempt, 1 to 65535, to pay an invoice: the invoice''s, as UUIDv8 and with the attempt for its last 16 bits. PaymentId::of in Rust.';

comment on column payments.id is
    'payment_id(invoice_id, attempt), UUIDv7 in rows older than that function; the idempotency key all the way to the bank.';

-- In id order, the payments of a call now lie as far apart as its invoices, with others between them. Only for those that
-- are open, since only these are read by batch; payments without one do not pay for it.
create index payments_open_of_batch on payments (batch_id, id) where batch_id is not null and settled_at is null;
