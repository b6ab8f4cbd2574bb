//! Everything invoice-app and payment-provider share through NATS, and nothing else: what is said (subjects, messages,
//! money), where it is kept (streams and durables), and how it is sent and taken (publishing, delivery).

pub mod connection;
pub mod crash_points;
pub mod delivery;
pub mod ids;
pub mod messages;
pub mod metrics;
pub mod money;
pub mod publish;
pub mod streams;
pub mod subjects;
pub mod timestamp;
pub mod trace;

pub use ids::{BatchId, InvoiceId, PaymentId};
pub use money::{Currency, Money};
