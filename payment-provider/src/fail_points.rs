//! The steps at which a test can make this service die.

payment_contract::words! {
    /// A step at which the process can be made to die, in the order in which a payment meets them.
    pub enum FailPoint {
        /// Intents are about to be written.
        IntentsWriting = "intents.writing",
        /// They are committed; the bank is not called.
        IntentsWritten = "intents.written",
        /// Leases of open rows are about to be taken.
        LeasesTaking = "leases.taking",
        /// They are taken; the bank is not asked.
        LeasesTaken = "leases.taken",
        /// Leases are about to be renewed.
        LeasesRenewing = "leases.renewing",
        /// They are renewed.
        LeasesRenewed = "leases.renewed",
        /// The bank is about to be asked what it knows.
        BankLookingUp = "bank.looking_up",
        /// It has answered.
        BankLookedUp = "bank.looked_up",
        /// The bank is about to be called.
        BankPaying = "bank.paying",
        /// It has answered, or not in time; nothing of it is written.
        BankPaid = "bank.paid",
        /// Results are about to be written.
        ResultsWriting = "results.writing",
        /// They are committed; nobody knows of them.
        ResultsWritten = "results.written",
        /// Leases of rows without a result are about to be given back.
        LeasesReleasing = "leases.releasing",
        /// They are given back; their requests are not.
        LeasesReleased = "leases.released",
        /// Outcomes are about to be published.
        OutcomesPublishing = "outcomes.publishing",
        /// The stream has them; their requests are not acknowledged.
        OutcomesPublished = "outcomes.published",
    }
}
