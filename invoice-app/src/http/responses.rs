//! Responses of several endpoints: settled or still open, as it is now or as it was saved.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Error, prefer::Prefer};
use crate::idempotency::{NotRun, SavedResponse};

/// 202 while something is open, else 200.
pub(super) fn settled_or_not(view: impl Serialize, open: bool, prefer: &Prefer, repeated: bool) -> Response {
    let status = if open {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let mut response = (status, Json(view)).into_response();
    let applied = prefer
        .applied
        .as_deref()
        .and_then(|applied| HeaderValue::from_str(applied).ok());
    if let Some(applied) = applied {
        response.headers_mut().insert("preference-applied", applied);
    }
    mark(&mut response, repeated);
    response
}

/// What a repeat is answered; an error where the key cannot be used.
pub(super) fn repeated(why: NotRun) -> Result<SavedResponse, Error> {
    match why {
        NotRun::Repeated(answer) => Ok(answer),
        NotRun::InUse => Err(Error::KeyInUse),
        NotRun::OtherCall => Err(Error::KeyReused),
    }
}

/// A response as it was saved.
pub(super) fn saved(answer: SavedResponse, repeated: bool) -> Response {
    let SavedResponse::Whole {
        status,
        location,
        body,
    } = answer
    else {
        return Error::KeyReused.into_response();
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (status, json, body).into_response();
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    mark(&mut response, repeated);
    response
}

fn mark(response: &mut Response, repeated: bool) {
    if repeated {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
}
