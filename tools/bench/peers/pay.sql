with paid as (
    update invoices set status = 'paid', paid_at = clock_timestamp()
    where id = any($1) and status = 'unpaid'
    returning id, amount_minor, currency
)
insert into payments (invoice_id, amount_minor, currency, reference)
select id, amount_minor, currency, 'bank-' || id from paid
