-- A column that the running binary does not know.
alter table ledger add column note text;
comment on column ledger.note is 'Free text of an operator.';
