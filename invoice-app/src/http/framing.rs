//! Heads of requests that somebody on the way may have understood otherwise: refused, before anything is done about them.

use axum::{
    extract::Request,
    http::{HeaderValue, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::Error;

/// Refuses them, and closes the connection: where the next request begins is as doubtful.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let Some(problem) = problem(&request) else {
        return next.run(request).await;
    };
    let mut response = Error::Malformed(problem.to_owned()).into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn problem(request: &Request) -> Option<&'static str> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    // RFC 9112, 3.2.
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => {}
        (Some(host), None) if is_host(host) => {}
        (None, _) => return Some("the Host header is missing"),
        (Some(_), None) => return Some("the Host header is not a host"),
        (Some(_), Some(_)) => return Some("there is more than one Host header"),
    }
    // RFC 9112, 6.1: nothing else is understood, and what remains after `chunked` would be read as if it were plain.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if chunked(coding) => None,
        _ => Some("no Transfer-Encoding is understood but chunked"),
    }
}

fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let authority = text.parse::<Authority>();
    // A client without one sends it empty; a name and password do not belong here.
    text.is_empty() || authority.is_ok_and(|authority| !authority.as_str().contains('@'))
}
