//! What happened to an invoice, and where in the order of everything that happened. No I/O.

/// What can happen to an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Kind {
    /// It was created.
    Created,
    /// Its payment was asked for.
    Pending,
    /// It was paid.
    Paid,
    /// Its payment was declined: it is unpaid again.
    Declined,
    /// It was voided.
    Voided,
}

impl Kind {
    /// The event's type in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "invoice.created",
            Self::Pending => "invoice.pending",
            Self::Paid => "invoice.paid",
            Self::Declined => "invoice.declined",
            Self::Voided => "invoice.voided",
        }
    }
}
