//! Builds again when a migration changes: `sqlx::migrate!` embeds them, and cargo cannot know.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
