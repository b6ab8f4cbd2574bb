//! Places in a list of invoices, as they are handed out and come back. No I/O.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use payment_contract::InvoiceId;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::store::invoices::Filter;

/// Behind this invoice, in this list.
pub fn to(filter: &Filter, last: InvoiceId) -> String {
    let id = last.as_uuid().into_bytes();
    let bytes: Vec<u8> = id.into_iter().chain(check(filter, &id)).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The invoice it is behind; nothing when it was not handed out for this list.
pub fn parse(filter: &Filter, text: &str) -> Option<InvoiceId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, sent) = bytes.split_first_chunk::<16>()?;
    check(filter, id)
        .eq(sent.iter().copied())
        .then(|| Uuid::from_bytes(*id).into())
}

/// Tells a cursor of another list, or one that was made up. There is nothing to be gained by making one up.
fn check(filter: &Filter, id: &[u8; 16]) -> impl Iterator<Item = u8> {
    let list = Sha256::new()
        .chain_update(id)
        .chain_update(format!("{filter:?}"))
        .finalize();
    list.into_iter().take(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{invoice::Status, store::invoices::SortOrder};

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_in_its_own_list_only() {
        let id = InvoiceId::generate();
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
        for (n, list) in lists.iter().enumerate() {
            let written = to(list, id);
            for (m, other) in lists.iter().enumerate() {
                assert_eq!(parse(other, &written), (n == m).then_some(id));
            }
        }
        let forged = URL_SAFE_NO_PAD.encode([7; 24]);
        for bad in [
            "",
            "x",
            "AAAA",
            "!!",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "AAAAAAAAAAAAAAAAAAAAAA",
            forged.as_str(),
        ] {
            assert_eq!(parse(&lists[0], bad), None, "{bad}");
        }
    }
}
