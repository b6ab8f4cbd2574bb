-- Each invoice number is paid once. Invoices that an older database forgot, and that were imported again, have new ids: only
-- their numbers tell that they were paid. A payment that is not to be made by itself is held until an operator decides.
alter table ledger
    -- Why it waits for an operator instead of calling the bank; stays as a record once released or ended.
    --   number_paid: another payment has its invoice number, and succeeded or is open
    --   superseded: its invoice is paid by a later attempt, so this one was declined once, before this ledger went back in time
    --   hold_new_payments: the switch of that name was on
    add column held_reason text check (held_reason in ('number_paid', 'superseded', 'hold_new_payments')),
    add column released_at timestamptz; -- when an operator let it go on; its age is counted from then

alter table ledger_resolutions
    drop constraint ledger_resolutions_status_check,
    add constraint ledger_resolutions_status_check check (status in ('succeeded', 'declined', 'released'));

-- What was written before nobody watched numbers: of several payments with one, all but the surest give it up.
update ledger set held_reason = 'number_paid'
from (select payment_id,
             row_number() over (partition by invoice_number order by status = 'succeeded' desc, attempt desc, created_at) as place
      from ledger where status <> 'declined') as ranked
where ranked.payment_id = ledger.payment_id and ranked.place > 1;

-- Writes to the ledger wait while it is made: seconds for a million payments.
create unique index ledger_number on ledger (invoice_number)
    where status <> 'declined' and (held_reason is null or held_reason = 'hold_new_payments');
