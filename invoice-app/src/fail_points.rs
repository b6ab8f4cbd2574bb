//! The steps at which a test can make this service die.

payment_contract::words! {
    /// A step at which the process can be made to die, in the order in which a payment meets them.
    pub enum FailPoint {
        /// An invoice is written, not committed.
        InvoiceCreating = "invoice.creating",
        /// It is committed, its caller not answered.
        InvoiceCreated = "invoice.created",
        /// Lines of an import are put aside; they are no invoices yet.
        ImportStaged = "import.staged",
        /// They are invoices, not committed.
        ImportCommitting = "import.committing",
        /// They are committed, the caller not answered.
        ImportCommitted = "import.committed",
        /// A call that pays one invoice is about to commit.
        PaymentCommitting = "payment.committing",
        /// It has committed; nobody has been asked to pay yet.
        PaymentCommitted = "payment.committed",
        /// The request is with the sender, the caller not answered.
        PaymentHandedOver = "payment.handed_over",
        /// A call that pays several is about to commit.
        BatchCommitting = "batch.committing",
        /// It has committed; nobody has been asked to pay yet.
        BatchCommitted = "batch.committed",
        /// The requests are with the sender, the caller not answered.
        BatchHandedOver = "batch.handed_over",
        /// A page of a large call is read back, not sent.
        BatchPageRead = "batch.page_read",
        /// Requests are about to be published.
        RequestsPublishing = "requests.publishing",
        /// They have left the process.
        RequestsPublished = "requests.published",
        /// Requests that could not be published are about to be made due.
        RequestsReleasing = "requests.releasing",
        /// They are due.
        RequestsReleased = "requests.released",
        /// The sweep is about to claim what is due.
        SweepClaiming = "sweep.claiming",
        /// It has; the next claim of these rows is some time ahead.
        SweepClaimed = "sweep.claimed",
        /// NATS has forgotten; that and the rows made due are not committed.
        ForgottenCommitting = "forgotten.committing",
        /// It is committed; the sweep is not woken.
        ForgottenCommitted = "forgotten.committed",
        /// Outcomes are about to be applied.
        OutcomesSettling = "outcomes.settling",
        /// Payments and invoices are settled; the messages are not acknowledged.
        OutcomesSettled = "outcomes.settled",
        /// An invoice is about to be voided.
        InvoiceVoiding = "invoice.voiding",
        /// It is void, the caller not answered.
        InvoiceVoided = "invoice.voided",
    }
}
