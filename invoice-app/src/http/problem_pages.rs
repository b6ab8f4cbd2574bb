//! `GET /problems` and `GET /problems/{slug}`: what a problem's `type` leads to. Each page says what happened, why, and what
//! to do next; to a browser as HTML, and as plain text with `Accept: text/plain`. They need no token and no database.

use std::fmt::Write as _;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    Error,
    problem::PREFIX,
    problem_texts::{PAGES, ProblemPage, page},
};

pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/problems", get(list_problems))
        .route("/problems/{slug}", get(get_problem))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
}

async fn list_problems(headers: HeaderMap) -> Response {
    let mut text = String::new();
    let html = is_html(&headers);
    for ProblemPage {
        slug, status, title, ..
    } in PAGES
    {
        // Writing to a string cannot fail.
        let _ = if html {
            writeln!(
                text,
                "<li><a href=\"{PREFIX}{slug}\">{slug}</a>: {status}, {}</li>",
                escape(title)
            )
        } else {
            writeln!(text, "{status} {PREFIX}{slug}  {title}")
        };
    }
    if html {
        document("Problems", &format!("<ul>\n{text}</ul>\n"))
    } else {
        plain(text)
    }
}

async fn get_problem(Path(slug): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    let ProblemPage {
        slug,
        status,
        title,
        what,
        why,
        next,
        command,
    } = page(&slug).ok_or(Error::NoRoute)?;
    if !is_html(&headers) {
        let text = format!(
            "{title}\n{PREFIX}{slug}, status {status}\n\nWhat happened\n  {what}\n\nWhy\n  {why}\n\nWhat to do\n  {next}\n\n  $ {command}\n"
        );
        return Ok(plain(text));
    }
    let [what, why, next, command] = [what, why, next, command].map(escape);
    let body = format!(
        "<p><code>{PREFIX}{slug}</code>, status {status}</p>\n<h2>What happened</h2>\n<p>{what}</p>\n<h2>Why</h2>\n<p>{why}</p>\n\
         <h2>What to do</h2>\n<p>{next}</p>\n<pre>{command}</pre>\n<p><a href=\"/problems\">All problems</a></p>\n"
    );
    Ok(document(title, &body))
}

/// Plain text goes to whoever asks for it and not for HTML.
fn is_html(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        let mut values = headers.get_all(header::ACCEPT).iter();
        values.any(|value| value.to_str().is_ok_and(|value| value.contains(kind)))
    };
    accepts("text/html") || !accepts("text/plain")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn document(title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    );
    answer("text/html; charset=utf-8", html)
}

fn plain(text: String) -> Response {
    answer("text/plain; charset=utf-8", text)
}

fn answer(kind: &'static str, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, "accept"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (
        headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
        text,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_page_and_no_page_is_without_words() {
        for page in PAGES {
            for text in [page.title, page.what, page.why, page.next, page.command] {
                assert!(!text.is_empty(), "{}", page.slug);
            }
        }
        assert_eq!(page("nothing-of-ours"), None);
    }
}
