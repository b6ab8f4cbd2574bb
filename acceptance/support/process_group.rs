//! Processes that end together.

use tokio::process::Child;

/// Kills a child that leads a group, and whatever it has started. What has ended already is no loss.
pub fn kill_group(child: &Child) {
    if let Some(group) = child.id() {
        let _ = std::process::Command::new("kill")
            .args(["-KILL", "--", &format!("-{group}")])
            .status();
    }
}
