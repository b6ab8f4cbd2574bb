//! Dying at a point: a test arms it by putting a file with its name into a directory that the process was told of.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{LazyLock, Mutex},
};

use crate::lock;

/// Names the directory. A point of a service is armed as long as there is a file `<service>.<point>` in it; the number in
/// the file, if any, is how many times more it is passed unharmed.
pub const DIRECTORY: &str = "FAIL_POINTS";

static ARMED: LazyLock<Option<(PathBuf, String)>> = LazyLock::new(|| {
    let directory = std::env::var_os(DIRECTORY)?;
    let program = std::env::current_exe().ok()?;
    let service = program.file_name()?.to_str()?.to_owned();
    Some((directory.into(), service))
});

/// Ends the process if the point is armed.
pub fn pass(point: &str) {
    if let Some((directory, service)) = &*ARMED {
        let file = directory.join(format!("{service}.{point}"));
        if is_over(&file) {
            // As kill -9 does: nothing is unwound, flushed or closed in good order.
            process::abort();
        }
    }
}

/// Counts one pass; true when it was the last. The file is gone then, so that the process that is started in place of this
/// one passes, and whoever armed the point sees that it was reached.
fn is_over(file: &Path) -> bool {
    static TURN: Mutex<()> = Mutex::new(());
    if !file.exists() {
        return false;
    }
    let _turn = lock(&TURN);
    let Ok(text) = fs::read_to_string(file) else {
        return false;
    };
    match text.trim().parse::<u32>() {
        Ok(left) if left > 0 => {
            // Should this fail, it only takes one pass more.
            let _ = fs::write(file, (left - 1).to_string());
            false
        }
        _ => fs::remove_file(file).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_point_is_passed_as_often_as_its_file_says_and_never_twice() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("invoice-app.payment.committed");
        assert!(!is_over(&file), "it is not armed");
        fs::write(&file, "2").unwrap();
        assert_eq!([(); 4].map(|()| is_over(&file)), [false, false, true, false]);
        fs::write(&file, "").unwrap();
        assert!(is_over(&file));
        assert!(!file.exists());
    }
}
