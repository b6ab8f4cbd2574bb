//! `POST /invoices/import`: creates one invoice for each line of the body, all of them or none.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::http::{
    Api, Error,
    access::Writer,
    body::{Incoming, check_type, essence},
    csv_import::Rows,
    fields::Fields,
    ndjson::{Line, Lines},
    openapi::parameters,
    post::Post,
    responses::{repeated, saved},
};
use crate::{
    creating::{Import, Summary},
    idempotency::{Called, SavedResponse},
    invoice::New,
};

const TYPES: [&str; 6] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json",
    CSV,
];
const CSV: &str = "text/csv";

/// How lines are to be read.
enum Format {
    Ndjson,
    Csv(Rows),
}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportSummary)]
struct SummaryView<'a> {
    created: i64,
    rejected: Vec<RejectedView<'a>>,
    rejected_total: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Rejected)]
struct RejectedView<'a> {
    line: i64,
    error: &'a str,
}

/// Imports invoices. Lines that cannot become one are told and stop nothing; a body that breaks off creates nothing.
#[utoipa::path(
    post, path = "/invoices/import", tag = "Invoices", security(("token" = ["invoices:write"])),
    params(parameters::Keyed),
    request_body(content((String = "application/x-ndjson"), (String = "text/csv"))),
    responses((status = 200, description = "What became of the lines", body = SummaryView<'static>),
              (status = 503, description = "stopping")),
)]
pub async fn import_invoices(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    post: Post,
) -> Result<Response, Error> {
    let _turn = api.imports.try_acquire().map_err(|_| Error::TooManyRequests)?;
    let key = post.key(&caller)?;
    if !post.is_empty() {
        check_type(post.headers(), &TYPES, "application/x-ndjson or text/csv")?;
    }
    let mut format = Format::of(post.headers());
    let mut fingerprint = post.fingerprint();
    let mut incoming = post.incoming(api.limits.import_bytes, api.limits.import, &api)?;
    let Some(mut import) = Import::init(&api.store, caller.actor, key).await? else {
        return Err(Error::KeyInUse);
    };
    tokio::select! {
        taken = take_lines(&mut import, &mut incoming, &mut format, &mut fingerprint) => taken?,
        // What is still to come may take minutes, and everybody's time to end is the same.
        () = api.stop.cancelled() => return Err(Error::Stopping),
    }
    match import.finish(fingerprint.finalize().to_vec(), answer).await? {
        Called::Ran(summary) => Ok(saved(answer(&summary), false)),
        Called::NotRun(why) => Ok(saved(repeated(why)?, true)),
    }
}

async fn take_lines(
    import: &mut Import,
    incoming: &mut Incoming,
    format: &mut Format,
    fingerprint: &mut Sha256,
) -> Result<(), Error> {
    let mut lines = Lines::default();
    while let Some(mut piece) = incoming.next().await? {
        fingerprint.update(&piece);
        while !piece.is_empty() {
            if lines.feed(&mut piece) {
                import.take(lines.line(|line| format.parse(&line))?).await?;
            }
        }
    }
    if lines.has_rest() {
        import.take(lines.line(|line| format.parse(&line))?).await?;
    }
    Ok(())
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).map(essence);
        if kind.is_some_and(|kind| kind == CSV) {
            Self::Csv(Rows::default())
        } else {
            Self::Ndjson
        }
    }

    /// An invoice, or why it is none; nothing for a line that is not about one.
    fn parse(&mut self, line: &Line<'_>) -> Result<Option<Result<New, String>>, Error> {
        match self {
            Self::Ndjson => Ok(parse(line)),
            Self::Csv(rows) => rows.read(line),
        }
    }
}

/// An invoice, or why it is none; nothing for a blank line.
fn parse(line: &Line<'_>) -> Option<Result<New, String>> {
    let text = match line {
        Line::TooLong => return Some(Err(line.too_long())),
        Line::Whole(text) => text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text),
    };
    if text.trim_ascii().is_empty() {
        return None;
    }
    Some(match Fields::parse(text) {
        Err(error) => Err(error.to_string().replacen("the body", "the line", 1)),
        Ok(fields) => fields.into_invoice().map_err(|errors| {
            let told: Vec<String> = errors
                .into_iter()
                .map(|error| {
                    if error.field.is_empty() {
                        error.problem
                    } else {
                        format!("{} {}", error.field, error.problem)
                    }
                })
                .collect();
            told.join("; ")
        }),
    })
}

fn answer(summary: &Summary) -> SavedResponse {
    let rejected = summary
        .rejected
        .iter()
        .map(|(line, error)| RejectedView { line: *line, error });
    let view = SummaryView {
        created: summary.created,
        rejected: rejected.collect(),
        rejected_total: summary.rejected_total,
    };
    // Strings and numbers always serialize.
    let body = serde_json::to_string(&view).unwrap_or_default();
    SavedResponse::Whole {
        status: StatusCode::OK.as_u16(),
        location: None,
        body,
    }
}
