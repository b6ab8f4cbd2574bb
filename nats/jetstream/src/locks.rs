//! Locks, whoever held them last.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also where a holder has panicked: what is guarded here is whole between any two lines.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
