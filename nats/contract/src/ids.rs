//! Identifiers as types of their own, so that an invoice can never be paid under a payment's id.

use uuid::Uuid;

/// Defines an identifier: a UUID that is mistaken for no other.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new, time-ordered (version 7) identifier.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7())
            }

            /// The bare UUID, for storage.
            pub const fn as_uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::try_parse(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One invoice.
    InvoiceId
);
id!(
    /// One attempt to pay an invoice, made of both (see [`PaymentId::of`]). Also the idempotency key towards the bank.
    PaymentId
);

impl PaymentId {
    /// The id of one attempt to pay an invoice, counted from 1: the invoice's, as version 8 (RFC 9562) and with the attempt
    /// for its last 16 bits. Made of what it names and not of chance, so that an invoice-app whose database went back in
    /// time gives the same attempt the same name, and the ledger and the bank answer with what they know of it.
    ///
    /// ```
    /// use payment_contract::{InvoiceId, PaymentId};
    ///
    /// let invoice: InvoiceId = "0199b1f0-5c1e-7a3b-8f00-0123456789ab".parse()?;
    /// assert_eq!(PaymentId::of(invoice, 2).to_string(), "0199b1f0-5c1e-8a3b-8f00-012345670002");
    /// # Ok::<(), uuid::Error>(())
    /// ```
    pub fn of(invoice: InvoiceId, attempt: u16) -> Self {
        const VERSION: u128 = 0xf << 76;
        let kept = invoice.0.as_u128() & !VERSION & !u128::from(u16::MAX);
        Self(Uuid::from_u128(kept | (0x8 << 76) | u128::from(attempt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_of_an_invoice_has_the_same_id_for_ever() {
        let invoice: InvoiceId = "0199b1f0-5c1e-7a3b-8f00-0123456789ab".parse().unwrap();
        let names = [1, 2, u16::MAX].map(|attempt| PaymentId::of(invoice, attempt).to_string());
        assert_eq!(
            names,
            [
                "0199b1f0-5c1e-8a3b-8f00-012345670001",
                "0199b1f0-5c1e-8a3b-8f00-012345670002",
                "0199b1f0-5c1e-8a3b-8f00-01234567ffff"
            ]
        );
    }

    #[test]
    fn invoices_made_in_one_go_share_no_payment_id() {
        let ids: std::collections::HashSet<_> = (0..100_000)
            .map(|_| PaymentId::of(InvoiceId::generate(), 1))
            .collect();
        assert_eq!(ids.len(), 100_000);
    }
}
