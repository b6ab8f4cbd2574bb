//! Names a call that paid several invoices. It goes no further than this service.

payment_contract::id!(
    /// One call that paid several invoices.
    BatchId
);
