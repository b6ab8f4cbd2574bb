//! Who may ask: a browser on this machine that shows the control room's own page, and `curl`. Any site that such a browser
//! visits can send it to a port on the loopback address; it cannot make it say what is asked for here.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// A page of another origin may set it only if this server agrees beforehand, which it never does.
pub(super) const OWN_HEADER: &str = "x-control-room";

/// Turns away what comes from elsewhere.
pub(super) async fn guard(State(port): State<u16>, request: Request, next: Next) -> Response {
    match refusal(port, request.method(), request.headers()) {
        None => next.run(request).await,
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
    }
}

fn refusal(port: u16, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
    let host = text(header::HOST.as_str()).unwrap_or_default();
    // Another name for this address is somebody's who wants to read the answers: DNS rebinding.
    if !own.iter().any(|own| own == host) {
        return Some("This page is only for the machine it runs on, by its loopback address.\n");
    }
    if matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) && *method != Method::GET {
        return Some("Another site asked for this.\n");
    }
    if *method == Method::GET || *method == Method::HEAD {
        return None;
    }
    if headers.get(OWN_HEADER).is_none() {
        return Some("Changes need the header `X-Control-Room: 1`.\n");
    }
    let origin = text(header::ORIGIN.as_str());
    if origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Some("Another site asked for this.\n");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        refusal(8090, method, &headers).is_some()
    }

    #[test]
    fn the_page_itself_and_curl_may_change_things() {
        let own = ("host", "127.0.0.1:8090");
        assert!(!refused(&Method::POST, &[own, (OWN_HEADER, "1")]));
        assert!(!refused(
            &Method::POST,
            &[
                ("host", "localhost:8090"),
                (OWN_HEADER, "1"),
                ("origin", "http://localhost:8090"),
                ("sec-fetch-site", "same-origin")
            ]
        ));
        assert!(!refused(&Method::GET, &[own]));
    }

    #[test]
    fn other_sites_are_refused_whatever_they_can_make_a_browser_send() {
        let (own, token) = (("host", "127.0.0.1:8090"), (OWN_HEADER, "1"));
        // A form, an image, a script of another origin: no header of ours.
        assert!(refused(&Method::POST, &[own]));
        assert!(refused(&Method::POST, &[own, ("origin", "http://evil.example")]));
        assert!(refused(&Method::POST, &[own, token, ("origin", "null")]));
        assert!(refused(
            &Method::POST,
            &[own, token, ("origin", "http://evil.example")]
        ));
        assert!(refused(
            &Method::POST,
            &[own, token, ("sec-fetch-site", "cross-site")]
        ));
        // A name that was made to mean this machine.
        assert!(refused(&Method::GET, &[("host", "evil.example:8090")]));
        assert!(refused(&Method::GET, &[("host", "127.0.0.1:9999")]));
        assert!(refused(&Method::GET, &[]));
    }
}
