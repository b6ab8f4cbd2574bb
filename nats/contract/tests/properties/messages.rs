//! What must hold for any bytes that are taken for a message: what is understood once is said, and understood, the same from
//! then on. (The first time need not look alike: more than six decimals of a second are dropped, unknown fields left out.)

use payment_contract::messages::{PayRequestV1, PaymentOutcomeV1};

/// Panics where it does not hold.
pub(crate) fn holds_for(input: &[u8]) {
    if let Ok(first) = serde_json::from_slice::<PayRequestV1>(input) {
        let said = first.encode();
        let second: PayRequestV1 = serde_json::from_slice(&said).unwrap();
        let with_its_time = PayRequestV1 {
            requested_at: second.requested_at,
            ..first
        };
        assert_eq!(second, with_its_time);
        assert_eq!(second.encode(), said);
    }
    if let Ok(first) = serde_json::from_slice::<PaymentOutcomeV1>(input) {
        let said = first.encode();
        let second: PaymentOutcomeV1 = serde_json::from_slice(&said).unwrap();
        let with_its_time = PaymentOutcomeV1 {
            settled_at: second.settled_at,
            ..first
        };
        assert_eq!(second, with_its_time);
        assert_eq!(second.encode(), said);
    }
}
