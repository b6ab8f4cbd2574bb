-- What earlier migrations say of tables and columns in their own comments, where the database can be asked for it.

-- No release wrote `superseded`, and none can read it.
alter table ledger
    drop constraint ledger_held_reason_check,
    add constraint ledger_held_reason_check check (held_reason in ('number_paid', 'hold_new_payments')) not valid;

comment on table ledger is
    'Every payment that payment-provider was ever asked to make. A row is written before the bank is called and finished after it has answered; outcomes are published from finished rows only.';
comment on column ledger.payment_id is 'The request''s payment; the idempotency key at the bank.';
comment on column ledger.invoice_id is 'The invoice it pays.';
comment on column ledger.request_hash is 'SHA-256 over what must not differ when the request comes again: payment, invoice, minor units, currency.';
comment on column ledger.amount_minor is 'Whole minor units of the currency: cents, yen, fils.';
comment on column ledger.currency is 'ISO 4217 code.';
comment on column ledger.invoice_number is 'What the bank statement shows. Each is paid once: see the index ledger_number.';
comment on column ledger.attempt is 'Which attempt at the invoice the sender says it is.';
comment on column ledger.status is 'started -> succeeded | declined, once.';
comment on column ledger.reason is 'Why it was declined.';
comment on column ledger.gateway_reference is 'The bank''s own name for the payment.';
comment on column ledger.tries is 'Calls and look-ups that ended without a known result.';
comment on column ledger.lease_token is 'Who may call the bank now; null: nobody does.';
comment on column ledger.lease_until is 'Until when, by this database''s clock.';
comment on column ledger.traceparent is 'W3C trace context of the first request, continued by the outcome.';
comment on column ledger.updated_at is 'When anything of the row changed last.';
comment on column ledger.settled_at is 'When it was finished.';
comment on column ledger.requested_at is 'When invoice-app first asked, by its clock; null in rows older than this column.';
comment on column ledger.held_reason is
    'Why it waits, or waited, for an operator: number_paid, another payment has its invoice number, and succeeded or is open; hold_new_payments, the switch of that name was on. One of the first kind that is released takes the number and loses this; released by force beside the other, it keeps this, and stays outside the index ledger_number.';
comment on column ledger.released_at is 'When an operator let it go on; its age is counted from then.';

comment on table ledger_resolutions is
    'What operators decided about payments, when and on what grounds; written in the transaction that does it.';
comment on column ledger_resolutions.id is 'In the order of the decisions.';
comment on column ledger_resolutions.payment_id is 'The payment.';
comment on column ledger_resolutions.status is 'How it was ended: succeeded or declined; or released, which lets a held one go on.';
comment on column ledger_resolutions.reason is 'The operator''s words.';
comment on column ledger_resolutions.resolved_by is 'The operator.';
comment on column ledger_resolutions.bank_said is 'What the bank answered just before.';
comment on column ledger_resolutions.resolved_at is 'When.';

comment on table dead_letters is 'Messages that could not be handled, as they came, for an operator to replay or discard.';
comment on column dead_letters.id is 'How an operator names it.';
comment on column dead_letters.subject is 'Where it came from.';
comment on column dead_letters.reason is 'Why it could not be handled.';
comment on column dead_letters.stream_sequence is 'Its sequence in the stream.';
comment on column dead_letters.headers is 'The header block as received; bytes, since text holds neither NUL nor bad UTF-8.';
comment on column dead_letters.body is 'The body as received.';
comment on column dead_letters.received_at is 'When it was put here.';
comment on column dead_letters.last_received_at is 'When it came last.';
comment on column dead_letters.times is 'How often it was received.';
comment on column dead_letters.resolved_at is 'When an operator ended it.';
comment on column dead_letters.resolution is 'How: replayed or discarded.';

comment on table simulated_charges is
    'The simulated bank''s own books. It stands in for a bank elsewhere: its transactions are its own, and nothing joins them with the ledger.';
comment on column simulated_charges.key is 'The idempotency key.';
comment on column simulated_charges.value is 'Decimal text, as a bank would be sent it.';
comment on column simulated_charges.currency is 'ISO 4217 code.';
comment on column simulated_charges.invoice is 'What the statement shows.';
comment on column simulated_charges.status is 'succeeded or declined.';
comment on column simulated_charges.reason is 'Why it was declined.';
comment on column simulated_charges.reference is 'The bank''s own name for it.';
comment on column simulated_charges.created_at is 'When it was entered.';

comment on table simulated_faults is 'Which keys have had the trouble that their amount brings once.';
comment on column simulated_faults.key is 'The idempotency key.';
comment on column simulated_faults.created_at is 'When.';
