-- What happened to invoices, in an order that can be followed, and who asked for it.

create table invoice_changes (
    xid  xid8        not null default pg_current_xact_id(),
    id   bigint      not null generated always as identity,
    kind text        collate "C" not null
                     check (kind in ('created', 'pending', 'paid', 'declined', 'voided')),
    at   timestamptz not null,
    ids  uuid[]      not null,
    primary key (xid, id)
);
-- UUIDs hardly compress: trying to would cost more than it saves.
alter table invoice_changes alter column ids set storage external;

comment on table invoice_changes is
    'One row for each group of changes that were committed together; written by the statement that makes them, kept for seven days. Read in the order of (xid, id), and only below pg_snapshot_xmin(pg_current_snapshot()): a sequence alone would skip what commits late.';
comment on column invoice_changes.xid is 'The transaction.';
comment on column invoice_changes.id is 'The order within the transaction.';
comment on column invoice_changes.kind is 'What happened to all of them.';
comment on column invoice_changes.at is 'When.';
comment on column invoice_changes.ids is
    'The invoices that were created or voided, or the payments that were requested or settled; a thousand at most.';

create table invoice_changes_kept (
    only_row          boolean primary key default true check (only_row),
    system_identifier bigint  not null,
    forgotten_xid     xid8    not null default '0',
    forgotten_id      bigint  not null default 0
);
insert into invoice_changes_kept (system_identifier) select system_identifier from pg_control_system();

comment on table invoice_changes_kept is 'Which changes are still there.';
comment on column invoice_changes_kept.only_row is 'There is one row.';
comment on column invoice_changes_kept.system_identifier is
    'The cluster whose transactions they are of. In another one, as after restoring a dump, transactions are counted anew.';
comment on column invoice_changes_kept.forgotten_xid is
    'The transaction of the last deleted row: whoever has read less has missed something.';
comment on column invoice_changes_kept.forgotten_id is 'The last deleted row''s order within it.';

alter table invoices add column created_by text, add column voided_by text;
comment on column invoices.created_by is 'The name of the token it was created with; null without one.';
comment on column invoices.voided_by is 'The name of the token it was voided with; null without one.';
alter table payments add column requested_by text;
comment on column payments.requested_by is
    'The name of the token it was asked for with; null without one, and when its batch has it.';
alter table payment_batches add column requested_by text;
comment on column payment_batches.requested_by is 'The name of the token the call was made with; null without one.';
