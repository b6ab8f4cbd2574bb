//! What invoice-app and payment-provider say to each other through NATS: messages, money, ids, subjects, trace context. No I/O.

#![warn(missing_docs)]

pub mod ids;
pub mod messages;
pub mod money;
mod outcome_status;
pub mod streams;
pub mod subjects;
pub mod timestamp;
pub mod trace;
mod words;

pub use ids::{InvoiceId, PaymentId};
pub use money::{Currency, Money};
