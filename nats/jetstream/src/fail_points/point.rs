//! The list of all fail points, in the order in which a payment meets them.

macro_rules! points {
    ($($(#[doc = $about:literal])+ $list:ident { $(#[doc = $doc:literal] $point:ident = $name:literal,)+ })+) => {
        /// A step at which a process can be made to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Point {
            $($(#[doc = $doc] $point,)+)+
        }

        impl Point {
            /// What tests and reports call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$point => $name,)+)+
                }
            }
        }

        $($(#[doc = $about])+ pub const $list: &[Point] = &[$(Point::$point,)+];)+
    };
}

points! {
    /// Those of invoice-app.
    IN_INVOICE_APP {
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
    /// Those of payment-provider.
    IN_PAYMENT_PROVIDER {
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
        /// They have left the process, unconfirmed.
        OutcomesUnconfirmed = "outcomes.unconfirmed",
        /// The stream has them; their requests are not acknowledged.
        OutcomesPublished = "outcomes.published",
        /// A message is about to be given back, to come again later.
        MessagePuttingOff = "message.putting_off",
        /// It is given back.
        MessagePutOff = "message.put_off",
    }
    /// Those of the delivery loop, which both have: each stands for two.
    IN_BOTH {
        /// Messages have arrived; nothing is done about them.
        MessagesTaken = "messages.taken",
        /// A message is done; it is not acknowledged.
        MessageAcking = "message.acking",
        /// It is acknowledged, if the acknowledgement still leaves the process.
        MessageAcked = "message.acked",
        /// Dead letters are about to be kept.
        DeadLettersStoring = "dead_letters.storing",
        /// They are kept; their messages are not terminated.
        DeadLettersStored = "dead_letters.stored",
        /// A kept message is about to be terminated.
        MessageTerminating = "message.terminating",
        /// It is terminated.
        MessageTerminated = "message.terminated",
    }
}

impl Point {
    /// Before the acknowledgement that makes this decision known; `done` and `rejected` are the final ones.
    #[must_use]
    pub fn before_ack(decision: &str) -> Self {
        match decision {
            "done" => Self::MessageAcking,
            "rejected" => Self::MessageTerminating,
            _ => Self::MessagePuttingOff,
        }
    }

    /// After it.
    #[must_use]
    pub fn after_ack(decision: &str) -> Self {
        match decision {
            "done" => Self::MessageAcked,
            "rejected" => Self::MessageTerminated,
            _ => Self::MessagePutOff,
        }
    }
}
