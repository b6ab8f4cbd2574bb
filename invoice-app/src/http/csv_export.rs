//! Lists as CSV: every matching invoice, read page by page as the caller takes them in.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use payment_contract::InvoiceId;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::accept::quality;
use crate::{
    invoice::Invoice,
    store::{Store, invoices::Filter},
};

/// Invoices read at a time: what an export holds in memory.
const PAGE: i64 = 1000;
/// The first three are what an import takes.
const HEADER: [&str; 9] = [
    "number",
    "value",
    "currency",
    "status",
    "id",
    "created_at",
    "updated_at",
    "paid_at",
    "reason",
];

/// Whether the caller wants CSV, and JSON no more than that.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let csv = quality(headers, "text/csv");
    csv > 0.0 && csv >= quality(headers, "application/json")
}

/// What is left to be read.
struct Export {
    store: Store,
    filter: Filter,
    after: Option<InvoiceId>,
    begun: bool,
    done: bool,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// Every invoice behind `after`. When one cannot be read any more, or at `stop`, the connection is broken off, since the status
/// has been sent: what has arrived must not be taken for all of it.
pub fn export(
    store: Store,
    filter: Filter,
    after: Option<InvoiceId>,
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Response {
    let export = Export {
        store,
        filter,
        after,
        begun: false,
        done: false,
        stop,
        _place: place,
    };
    let pages = stream::try_unfold(export, async |mut export| {
        if export.done {
            return Ok(None);
        }
        let page = export.next().await.inspect_err(|error| {
            warn!(%error, "an export was broken off");
        })?;
        Ok::<_, std::io::Error>(Some((page, export)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"invoices.csv\"",
        ),
        (header::VARY, "accept"),
    ];
    (
        headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
        Body::from_stream(pages),
    )
        .into_response()
}

impl Export {
    async fn next(&mut self) -> std::io::Result<Bytes> {
        // What fits into one page is finished.
        if self.begun && self.stop.is_cancelled() {
            return Err(std::io::Error::other("the service is stopping"));
        }
        let page = self.store.list_invoices(&self.filter, self.after, PAGE).await;
        let invoices = page.map_err(std::io::Error::other)?;
        self.done = i64::try_from(invoices.len()).is_ok_and(|length| length < PAGE);
        self.after = invoices.last().map(|last| last.id).or(self.after);
        let mut csv = csv::Writer::from_writer(Vec::new());
        if !std::mem::replace(&mut self.begun, true) {
            csv.write_record(HEADER)?;
        }
        for invoice in &invoices {
            csv.write_record(record(invoice))?;
        }
        csv.into_inner()
            .map(Bytes::from)
            .map_err(csv::IntoInnerError::into_error)
    }
}

fn record(invoice: &Invoice) -> [String; HEADER.len()] {
    let time = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
    let reason = invoice
        .last_payment
        .as_ref()
        .and_then(|last| last.reason.as_deref());
    [
        guarded(&invoice.number),
        invoice.amount.value(),
        invoice.amount.currency().code().to_owned(),
        invoice.status.as_str().to_owned(),
        invoice.id.to_string(),
        time(invoice.created_at),
        time(invoice.updated_at),
        invoice.paid_at.map(time).unwrap_or_default(),
        guarded(reason.unwrap_or_default()),
    ]
}

/// A spreadsheet would carry out what begins like a formula. An import takes the apostrophe away again.
pub fn guarded(text: &str) -> String {
    if is_dangerous(text) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// Whether a cell begins like a formula or with a control character, behind apostrophes of its own too: else an import could
/// not tell those from ours.
pub fn is_dangerous(text: &str) -> bool {
    let begins = text.trim_start_matches('\'').chars().next();
    begins.is_some_and(|first| matches!(first, '=' | '+' | '-' | '@') || first.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_a_spreadsheet_would_run_begin_with_an_apostrophe() {
        for (text, cell) in [
            ("I1", "I1"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@SUM", "'@SUM"),
            ("\ttab", "'\ttab"),
            ("'=1", "''=1"),
            ("'a", "'a"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(guarded(text), cell);
        }
    }

    #[test]
    fn csv_is_what_its_type_says() {
        let accept = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            is_asked_for(&headers)
        };
        assert!(accept("text/csv") && accept("application/json, text/csv"));
        assert!(accept("application/json;q=0.5, text/csv"));
        assert!(!accept("application/json, text/csv;q=0.1") && !accept("text/csv;q=0"));
        assert!(!accept("*/*") && !accept("application/json"));
    }
}
