-- no-transaction
create index concurrently ledger_by_invoice on ledger (invoice_id);
