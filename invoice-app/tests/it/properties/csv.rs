//! What must hold for any bytes that are imported as CSV: it does not matter in which pieces they arrive, and an invoice that is
//! read, written as an export writes it, and read again, is the same.

use bytes::Bytes;
use invoice_app::{
    http::{csv_export::guarded, csv_import::Rows, ndjson::Lines},
    invoice::New,
};

/// What became of each line, up to one that refuses everything.
type Read = Vec<Option<Result<New, String>>>;

/// Panics where it does not hold.
pub(crate) fn holds_for(input: &[u8]) {
    let whole = read([input]);
    assert_eq!(read(input.chunks(1)), whole);
    for new in whole.into_iter().flatten().flatten() {
        for delimiter in [b',', b';'] {
            assert_eq!(
                read([&written(&new, delimiter)[..]]),
                [None, Some(Ok(new.clone()))]
            );
        }
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut lines, mut rows, mut read) = (Lines::default(), Rows::default(), Read::new());
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            if lines.feed(&mut piece) {
                match lines.line(|line| rows.read(&line)) {
                    Ok(row) => read.push(row),
                    Err(_) => return read,
                }
            }
        }
    }
    if lines.has_rest() {
        read.extend(lines.line(|line| rows.read(&line)).ok());
    }
    read
}

fn written(new: &New, delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(Vec::new());
    writer.write_record(["number", "value", "currency"]).unwrap();
    let number = new.number.as_ref().map_or("", |number| number.as_str());
    let (value, currency) = (new.amount.value(), new.amount.currency().code());
    writer
        .write_record([guarded(number).as_str(), &value, currency])
        .unwrap();
    writer.into_inner().unwrap()
}
