-- What the provider says a payment took, where that was unusual.
alter table payments add column provider jsonb;
comment on column payments.provider is
    'What the payment took, as its outcome told: tries, looked_up, deliveries, bank_ms. Null when nothing was unusual.';
