//! Where a test can make a process die: a name for each step on a payment's way, in debug builds only.

/// Ends the process here, at once and without a word to anybody, if a test has armed this point. In release builds it is
/// nothing at all.
#[macro_export]
macro_rules! fail_point {
    ($point:ident) => {{
        #[cfg(debug_assertions)]
        $crate::fail_points::pass($crate::fail_points::Point::$point);
    }};
    // The point depends on something: a function of `Point` chooses.
    ($choose:ident($of:expr)) => {{
        #[cfg(debug_assertions)]
        $crate::fail_points::pass($crate::fail_points::Point::$choose($of));
    }};
}

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
mod point;

#[cfg(debug_assertions)]
pub use self::{
    armed::{DIRECTORY, pass},
    point::{IN_BOTH, IN_INVOICE_APP, IN_PAYMENT_PROVIDER, Point},
};
