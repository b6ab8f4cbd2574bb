alter table ledger validate constraint ledger_held_reason_check;
