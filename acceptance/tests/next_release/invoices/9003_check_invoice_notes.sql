-- Reads the whole table, beside everybody who writes.
alter table invoices validate constraint invoices_note_length;
