//! What must hold for any text that is sent as a cursor: it is taken only where it was handed out, and letter by letter.

use invoice_app::{
    http::cursor,
    invoice::Status,
    store::invoices::{Filter, SortOrder},
};
use uuid::Uuid;

/// Panics where it does not hold.
pub(crate) fn holds_for(input: &[u8]) {
    let lists = [
        Filter::default(),
        Filter {
            order: SortOrder::Newest,
            ..Filter::default()
        },
        Filter {
            status: Some(Status::Paid),
            ..Filter::default()
        },
    ];
    let text = String::from_utf8_lossy(input);
    let taken: Vec<String> = lists
        .iter()
        .filter_map(|list| cursor::parse(list, &text).map(|id| cursor::to(list, id)))
        .collect();
    assert!(
        taken.len() <= 1 && taken.iter().all(|written| *written == text),
        "{text:?}: {taken:?}"
    );

    // One that was handed out, behind whatever invoice.
    let Some(id) = input.first_chunk().map(|id| Uuid::from_bytes(*id)) else {
        return;
    };
    for (n, list) in lists.iter().enumerate() {
        let written = cursor::to(list, id.into());
        for (m, other) in lists.iter().enumerate() {
            assert_eq!(cursor::parse(other, &written), (n == m).then(|| id.into()));
        }
    }
}
