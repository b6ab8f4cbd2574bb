-- A ledger restored from a backup has lost its youngest rows. The request that comes again is older than the new row it
-- gets, and so may be a call to the bank that nobody here remembers.
alter table ledger add column requested_at timestamptz; -- when invoice-app first asked, by its clock; null: written before this column
comment on column ledger.created_at is 'start of the bank''s key retention, unless requested_at is earlier';
