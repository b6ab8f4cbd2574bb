//! CSV in imports: a header, and then one invoice a line.

use super::{Error, csv_export::is_dangerous, ndjson::Line, problem::FieldError};
use crate::invoice::{New, Number, new_amount};

const HEADER: [&str; 3] = ["number", "value", "currency"];

/// Reads lines, the header first: it tells what stands between the cells.
#[derive(Debug, Default)]
pub struct Rows {
    delimiter: Option<u8>,
}

impl Rows {
    /// An invoice, or why it is none; nothing for the header and for a blank line. Another header refuses all of it: columns
    /// taken for others would become wrong invoices.
    pub fn read(&mut self, line: &Line<'_>) -> Result<Option<Result<New, String>>, Error> {
        let Line::Whole(text) = line else {
            return Ok(Some(Err(line.too_long())));
        };
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        if let Some(delimiter) = self.delimiter {
            return Ok(Some(invoice(text, delimiter)));
        }
        let fits = |delimiter: &u8| cells(text, *delimiter).is_ok_and(|cells| cells.iter().eq(HEADER));
        self.delimiter = [b',', b';'].into_iter().find(fits);
        if self.delimiter.is_some() {
            return Ok(None);
        }
        let problem =
            "must begin with the line number,value,currency (or with ; between them), ended by LF or CRLF";
        Err(Error::Invalid(vec![FieldError::new("", problem)]))
    }
}

/// The cells of one line, which is one row: a part of a row that goes on in the next line must not become an invoice.
fn cells(line: &[u8], delimiter: u8) -> Result<csv::StringRecord, &'static str> {
    if line.contains(&b'\r') {
        return Err("the line has a carriage return in it: lines end with LF or CRLF");
    }
    if !is_quoted_whole(line, delimiter) {
        return Err(
            "the line has a quotation mark that does not enclose a cell: a row is one line, and \" in a cell is written \"\"",
        );
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        // One line, which cannot be long.
        .buffer_capacity(256)
        .from_reader(line);
    let mut record = csv::StringRecord::new();
    reader
        .read_record(&mut record)
        .map_err(|_| "the line is not UTF-8")?;
    Ok(record)
}

/// Whether quotation marks stand only around whole cells, and doubled within those (RFC 4180).
fn is_quoted_whole(line: &[u8], delimiter: u8) -> bool {
    enum Place {
        Start,
        Plain,
        Quoted,
        /// Behind a mark that closes the cell, or is the first of two.
        Closed,
    }
    let mut place = Place::Start;
    for byte in line {
        place = match (place, *byte) {
            (Place::Quoted, b'"') => Place::Closed,
            (Place::Start | Place::Closed, b'"') | (Place::Quoted, _) => Place::Quoted,
            (Place::Plain, b'"') => return false,
            (_, byte) if byte == delimiter => Place::Start,
            (Place::Closed, _) => return false,
            (Place::Start | Place::Plain, _) => Place::Plain,
        };
    }
    !matches!(place, Place::Quoted)
}

fn invoice(line: &[u8], delimiter: u8) -> Result<New, String> {
    let cells = cells(line, delimiter)?;
    let mut values = cells.iter();
    let (Some(number), Some(value), Some(currency), None) =
        (values.next(), values.next(), values.next(), values.next())
    else {
        return Err(format!("has {} cells instead of {}", cells.len(), HEADER.len()));
    };
    let number = Some(unguarded(number)).filter(|number| !number.is_empty());
    let number = number
        .map(Number::try_new)
        .transpose()
        .map_err(|error| format!("number {error}"))?;
    let amount = new_amount(value, currency).map_err(|error| error.to_string())?;
    Ok(New { number, amount })
}

/// Without the apostrophe that an export put before what a spreadsheet would run.
fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'')
        .filter(|rest| is_dangerous(rest))
        .unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its number and amount, or why it is none.
    type Row = Result<(Option<String>, String), String>;

    fn read(lines: &[&str]) -> Result<Vec<Row>, Error> {
        let mut rows = Rows::default();
        let mut read = Vec::new();
        for line in lines {
            let row = rows.read(&Line::Whole(line.as_bytes()))?;
            read.extend(
                row.map(|row| row.map(|new| (new.number.map(Number::into_string), new.amount.to_string()))),
            );
        }
        Ok(read)
    }

    fn row(number: &str, amount: &str) -> (Option<String>, String) {
        let number = Some(number.to_owned()).filter(|number| !number.is_empty());
        (number, amount.to_owned())
    }

    #[test]
    fn rows_become_invoices_with_comma_or_semicolon_and_as_spreadsheets_quote_them() {
        let comma = [
            "\u{FEFF}number,value,currency",
            "a,12.15,EUR",
            "",
            "\"b,\"\"c\",7,JPY",
            ",1,EUR",
        ];
        let expected = [
            Ok(row("a", "12.15 EUR")),
            Ok(row("b,\"c", "7 JPY")),
            Ok(row("", "1.00 EUR")),
        ];
        assert_eq!(read(&comma).unwrap(), expected);
        let semicolon = ["\"number\";\"value\";\"currency\"", "a;12.15;EUR"];
        assert_eq!(read(&semicolon).unwrap(), [Ok(row("a", "12.15 EUR"))]);
    }

    #[test]
    fn the_apostrophe_of_an_export_is_taken_away_and_no_other() {
        let rows = ["number,value,currency", "'=1+1,1,EUR", "'a,1,EUR", "''-1,1,EUR"];
        let expected = [
            Ok(row("=1+1", "1.00 EUR")),
            Ok(row("'a", "1.00 EUR")),
            Ok(row("'-1", "1.00 EUR")),
        ];
        assert_eq!(read(&rows).unwrap(), expected);
    }

    #[test]
    fn rows_that_are_none_are_told_and_stop_nothing() {
        let rows = [
            "number,value,currency",
            "a,1",
            "a,1,EUR,x",
            "a b,1,EUR",
            "a,1e3,EUR",
            "a,1,eur",
            "ok,1,EUR",
        ];
        let read = read(&rows).unwrap();
        let problems: Vec<&str> = read
            .iter()
            .filter_map(|row| row.as_ref().err())
            .map(String::as_str)
            .collect();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert_eq!(problems[0], "has 2 cells instead of 3");
        assert!(problems[2].starts_with("number must"), "{problems:?}");
        assert!(
            problems[3].starts_with("value must") && problems[4].starts_with("currency must"),
            "{problems:?}"
        );
        assert_eq!(read[5], Ok(row("ok", "1.00 EUR")));
    }

    #[test]
    fn part_of_a_row_is_none() {
        for line in [
            "a,1,EUR\rb,1,EUR",
            "\"Line one",
            "INV-7\",100.00,EUR",
            "INV-8,3.00,\"EUR",
            "\"a\"b,1,EUR",
            "\"a\" ,1,EUR",
            "\"a\"\",1,EUR",
        ] {
            let rows = read(&["number,value,currency", line]).unwrap();
            assert!(
                rows[0]
                    .as_ref()
                    .is_err_and(|error| error.starts_with("the line has a")),
                "{line}: {rows:?}"
            );
        }
    }

    #[test]
    fn another_header_refuses_all_of_it() {
        for header in [
            "a,1,EUR",
            "currency,value,number",
            "number,value",
            "number,value,currency,status",
            "number,value,currency\ra,1,EUR\rb,1,EUR",
            "\u{0}",
        ] {
            assert!(matches!(read(&[header]), Err(Error::Invalid(_))), "{header}");
        }
    }
}
