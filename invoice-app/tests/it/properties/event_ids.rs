//! What must hold for any text that is sent as the id of an event: what is understood is a place that is written the same, alone
//! or with a batch; and ids that are made of any bytes are in the order of those.

use invoice_app::event::Position;
use uuid::Uuid;

/// Panics where it does not hold.
pub(crate) fn holds_for(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(position) = text.parse::<Position>()
    {
        let written = position.to_string();
        assert_eq!(written.parse(), Ok(position));
        // 28 bytes are 37 letters and a bit, so what follows them begins within the 38th.
        assert!(
            text == written || text.len() == 59 && text.starts_with(&written[..37]),
            "{text} is {written}"
        );
    }
    let Some((first, rest)) = place(input) else {
        return;
    };
    let batch = Uuid::from_slice(&rest[..rest.len().min(16)]).unwrap_or_default();
    let of_batch = first.batch_event_id(batch.into());
    assert_eq!(of_batch.parse(), Ok(first));
    assert_ne!(of_batch, first.to_string());
    if let Some((second, _)) = place(rest) {
        let parts = |position: Position| (position.era, position.transaction, position.group, position.place);
        assert_eq!(first.cmp(&second), parts(first).cmp(&parts(second)));
        assert_eq!(first == second, first.to_string() == second.to_string());
    }
}

/// One that is made of the first bytes.
fn place(input: &[u8]) -> Option<(Position, &[u8])> {
    let (era, rest) = input.split_first_chunk()?;
    let (transaction, rest) = rest.split_first_chunk()?;
    let (group, rest) = rest.split_first_chunk()?;
    let (place, rest) = rest.split_first_chunk()?;
    let position = Position {
        era: i64::from_be_bytes(*era),
        transaction: u64::from_be_bytes(*transaction),
        group: u64::from_be_bytes(*group),
        place: u32::from_be_bytes(*place),
    };
    Some((position, rest))
}
