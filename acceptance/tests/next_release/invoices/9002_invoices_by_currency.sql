-- no-transaction
create index concurrently invoices_by_currency on invoices (currency, id);
