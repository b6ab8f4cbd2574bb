-- What a next release may well do: columns that the running binary does not know, and a rule for them.
alter table invoices add column note text;
comment on column invoices.note is 'Free text of the creditor.';
alter table payments add column channel text not null default 'api';
comment on column payments.channel is 'Where the payment was asked for.';
-- Not checked against the rows there are: that would read the whole table with everybody locked out.
alter table invoices add constraint invoices_note_length check (length(note) <= 500) not valid;
