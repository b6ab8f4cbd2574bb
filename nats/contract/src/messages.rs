//! The messages themselves, versioned by subject. `golden/` locks their JSON: a changed golden file is a broken peer.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use time::OffsetDateTime;

pub use crate::outcome_status::OutcomeStatus;
use crate::{InvoiceId, Money, PaymentId, subjects, timestamp};

/// Asks payment-provider to pay an invoice. Sent again, unchanged, until an outcome arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayRequestV1 {
    /// The attempt; the idempotency key everywhere.
    pub payment_id: PaymentId,
    /// The invoice being paid.
    pub invoice_id: InvoiceId,
    /// The human reference, for the bank statement.
    pub invoice_number: String,
    /// What to pay.
    pub amount: Money,
    /// 1 for the invoice's first payment, 2 after one decline, and so on.
    pub attempt: u32,
    /// When the payment was requested.
    #[serde(with = "timestamp")]
    pub requested_at: OffsetDateTime,
}

/// The reason of a payment that could never be made, so that the bank was not asked.
pub const REJECTED_REQUEST: &str = "rejected_request";

/// Tells invoice-app how a payment ended. Comes from a finished ledger row only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOutcomeV1 {
    /// The attempt that ended.
    pub payment_id: PaymentId,
    /// Its invoice.
    pub invoice_id: InvoiceId,
    /// How it ended.
    pub status: OutcomeStatus,
    /// Why it was declined (`insufficient_funds`, …); null when it succeeded.
    pub reason: Option<String>,
    /// The bank's reference; null when it gave none.
    pub provider_reference: Option<String>,
    /// When the ledger row was finished.
    #[serde(with = "timestamp")]
    pub settled_at: OffsetDateTime,
    /// What it took, where that was unusual. One that cannot be read counts as none: it must not hold up what happened to the
    /// money.
    #[serde(
        default,
        deserialize_with = "if_readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub provider: Option<ProviderEffort>,
}

/// What a payment took, so that the side that nobody can reach explains itself. For people: nothing is decided by it. Told with
/// the outcome that is published first, and not when a finished row is published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderEffort {
    /// Calls and look-ups that left the result unknown.
    pub tries: u32,
    /// Whether the bank was asked what it knew of the payment.
    pub looked_up: bool,
    /// How often the request had been delivered by then.
    pub deliveries: u32,
    /// How long the bank took to answer at last, in milliseconds.
    pub bank_ms: u64,
}

fn if_readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProviderEffort>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Effort(ProviderEffort),
        Other(IgnoredAny),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Effort(effort) => Some(effort),
        Either::Other(_) => None,
    })
}

impl PayRequestV1 {
    /// Where it is sent.
    pub fn subject(&self) -> String {
        subjects::pay_request(self.amount.currency())
    }

    /// `Nats-Msg-Id`; `send` counts the sends of this payment from 1, so that sending again is no duplicate.
    pub fn message_id(&self, send: u32) -> String {
        format!("{}.{send}", self.payment_id)
    }

    /// The JSON body.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}

impl PaymentOutcomeV1 {
    /// Where it is sent.
    pub fn subject(&self) -> String {
        subjects::payment_outcome(self.status)
    }

    /// `Nats-Msg-Id`: the payment's id, since it ends once.
    pub fn message_id(&self) -> String {
        self.payment_id.to_string()
    }

    /// The JSON body.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// Room for a usual message, so that encoding allocates once.
const USUAL_SIZE: usize = 384;

fn encode(message: &impl Serialize) -> Bytes {
    let mut body = Vec::with_capacity(USUAL_SIZE);
    #[expect(
        clippy::expect_used,
        reason = "plain structs of text, numbers and ids encode always"
    )]
    serde_json::to_writer(&mut body, message).expect("a message encodes");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use time::macros::datetime;

    const PAY_REQUEST: &str = include_str!("../golden/pay_request_v1.json");
    const SUCCEEDED: &str = include_str!("../golden/payment_outcome_v1_succeeded.json");
    const DECLINED: &str = include_str!("../golden/payment_outcome_v1_declined.json");
    const WITH_EFFORT: &str = include_str!("../golden/payment_outcome_v1_with_effort.json");

    fn pay_request() -> PayRequestV1 {
        PayRequestV1 {
            payment_id: "019b7c5e-4b00-7000-8000-0000000000a1".parse().unwrap(),
            invoice_id: "019b7c5e-4b00-7000-8000-0000000000b1".parse().unwrap(),
            invoice_number: "I1 \u{e9}\"\\".to_owned(),
            amount: Money::parse("12.15", "EUR").unwrap(),
            attempt: 2,
            requested_at: datetime!(2026-01-02 03:04:05.000678 UTC),
        }
    }

    fn succeeded() -> PaymentOutcomeV1 {
        PaymentOutcomeV1 {
            payment_id: "019b7c5e-4b00-7000-8000-0000000000a1".parse().unwrap(),
            invoice_id: "019b7c5e-4b00-7000-8000-0000000000b1".parse().unwrap(),
            status: OutcomeStatus::Succeeded,
            reason: None,
            provider_reference: Some("sim-42".to_owned()),
            settled_at: datetime!(2026-01-02 03:04:06 UTC),
            provider: None,
        }
    }

    fn with_effort() -> PaymentOutcomeV1 {
        PaymentOutcomeV1 {
            provider: Some(ProviderEffort {
                tries: 1,
                looked_up: true,
                deliveries: 2,
                bank_ms: 2034,
            }),
            ..succeeded()
        }
    }

    fn declined() -> PaymentOutcomeV1 {
        PaymentOutcomeV1 {
            status: OutcomeStatus::Declined,
            reason: Some("insufficient_funds".to_owned()),
            provider_reference: None,
            ..succeeded()
        }
    }

    fn with_field(golden: &str, field: &str) -> String {
        golden.trim_end().replacen('{', &format!("{{{field},"), 1)
    }

    fn assert_locked<M>(golden: &str, message: &M)
    where
        M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let json = String::from_utf8(encode(message).to_vec()).unwrap();
        assert_eq!(
            json,
            golden.trim_end(),
            "the wire format changed: deployed peers will not understand it"
        );
        assert_eq!(&serde_json::from_str::<M>(golden).unwrap(), message);
        let newer = with_field(golden, r#""added_later":{"deep":[1,null,"x"]}"#);
        assert_eq!(&serde_json::from_str::<M>(&newer).unwrap(), message);
    }

    #[test]
    fn messages_look_as_their_golden_files_and_accept_unknown_fields() {
        assert_locked(PAY_REQUEST, &pay_request());
        assert_locked(SUCCEEDED, &succeeded());
        assert_locked(DECLINED, &declined());
        assert_locked(WITH_EFFORT, &with_effort());
    }

    #[test]
    fn an_outcome_may_leave_out_what_is_null() {
        let short = SUCCEEDED.replace(r#""reason":null,"#, "");
        assert_ne!(short, SUCCEEDED);
        assert_eq!(
            serde_json::from_str::<PaymentOutcomeV1>(&short).unwrap(),
            succeeded()
        );
    }

    #[test]
    fn an_effort_that_cannot_be_read_holds_up_no_outcome() {
        let (before, _) = WITH_EFFORT.split_once(r#""provider":"#).unwrap();
        for effort in ["null", "7", "[]", "{}", r#"{"tries":-1}"#, r#""twice""#] {
            let body = format!("{before}\"provider\":{effort}}}");
            let read = serde_json::from_str::<PaymentOutcomeV1>(&body).unwrap();
            assert_eq!(read, succeeded(), "{effort}");
        }
    }

    #[test]
    fn times_of_other_offsets_and_precisions_mean_the_same() {
        let other = PAY_REQUEST.replace(
            "2026-01-02T03:04:05.000678Z",
            "2026-01-02T05:04:05.000678000+02:00",
        );
        assert_ne!(other, PAY_REQUEST);
        assert_eq!(
            serde_json::from_str::<PayRequestV1>(&other).unwrap(),
            pay_request()
        );
    }

    #[test]
    fn a_message_without_a_usable_payment_id_is_refused() {
        for payment_id in [r#""""#, r#""x""#, "null", "7", "{}"] {
            let body = PAY_REQUEST.replace(r#""019b7c5e-4b00-7000-8000-0000000000a1""#, payment_id);
            assert!(
                serde_json::from_str::<PayRequestV1>(&body).is_err(),
                "{payment_id}"
            );
        }
        let missing = PAY_REQUEST.replace("payment_id", "paymentid");
        assert!(serde_json::from_str::<PayRequestV1>(&missing).is_err());
    }

    #[test]
    fn usual_messages_fit_the_room_made_for_them() {
        let longest = PayRequestV1 {
            invoice_number: "I".repeat(64),
            ..pay_request()
        };
        assert!(encode(&longest).len() <= USUAL_SIZE);
        assert!(encode(&declined()).len() <= USUAL_SIZE);
        assert!(encode(&with_effort()).len() <= USUAL_SIZE);
    }

    #[test]
    fn a_request_sent_again_is_another_message_and_an_outcome_is_always_the_same() {
        let request = pay_request();
        assert_eq!(request.subject(), "pay.v1.request.eur");
        assert_eq!(request.message_id(3), "019b7c5e-4b00-7000-8000-0000000000a1.3");
        assert_eq!(declined().subject(), "pay.v1.outcome.declined");
        assert_eq!(declined().message_id(), "019b7c5e-4b00-7000-8000-0000000000a1");
    }
}
