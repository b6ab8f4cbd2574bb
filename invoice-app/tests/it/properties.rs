//! What must hold for any input. `fuzz/` looks for some that breaks it; here the seeds it starts from are tried, and what is near
//! to them, the same in every run.

mod csv;
mod cursors;
mod event_ids;
#[path = "../../../fuzz/near.rs"]
mod near;

use near::for_all_near;

#[test]
fn csv_means_the_same_however_it_arrives_and_once_it_is_written_again() {
    for_all_near("csv", csv::holds_for);
}

#[test]
fn cursors_are_taken_as_they_are_handed_out_and_in_no_other_way() {
    for_all_near("cursors", cursors::holds_for);
}

#[test]
fn event_ids_are_read_as_they_are_written_and_in_order() {
    for_all_near("event_ids", event_ids::holds_for);
}
