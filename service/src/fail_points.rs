//! Where a test can make a process die: a name for each step on a payment's way, in debug builds only. Each service lists its
//! own; those of the loop that consumes messages are `jetstream`'s steps.

/// Ends the process here, at once and without a word to anybody, if a test has armed this point of the crate's own
/// `fail_points::FailPoint`. In release builds it is nothing at all.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "each service has its own fail points")]
macro_rules! fail_point {
    ($point:ident) => {{
        #[cfg(debug_assertions)]
        $crate::fail_points::pass(crate::fail_points::FailPoint::$point.as_str());
    }};
}

#[cfg(debug_assertions)]
mod armed;

#[cfg(debug_assertions)]
pub use self::armed::{DIRECTORY, pass};
