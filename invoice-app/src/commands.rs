//! What operators do from the command line.

pub mod dead_letters;
pub mod payments;
pub mod token;
