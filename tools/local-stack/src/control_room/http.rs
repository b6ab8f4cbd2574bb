//! What the control room answers: its page, its state as it changes, and the switches.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{Stream, stream};
use local_stack::workspace_root;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Room,
    action::{self, Wish},
    guard, snapshot,
};

/// Nothing from elsewhere, nothing inline, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What the tour shows of the sources; nothing else of the disk.
const SOURCES: [&str; 5] = [
    "invoice-app/src/http/routes/pay_invoice.rs",
    "invoice-app/src/sweep.rs",
    "payment-provider/src/pay_requests.rs",
    "payment-provider/src/gateway.rs",
    "nats/contract/src/ids.rs",
];

pub(super) async fn serve(listener: TcpListener, port: u16, room: Arc<Room>) {
    let router = Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/page.js", get(script))
        .route("/state", get(state_now))
        .route("/state/follow", get(state))
        .route("/source/{*path}", get(source))
        .route("/do/{action}", post(act))
        .layer(middleware::from_fn_with_state(port, guard::guard))
        .with_state(room);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("control room: {error}");
    }
}

async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page/page.html"))
}

async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn file(content_type: &'static str, text: impl IntoResponse) -> Response {
    let mut answer = text.into_response();
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn state_now(State(room): State<Arc<Room>>) -> Response {
    let state = Arc::clone(&room.state.borrow());
    file("application/json", state.to_string())
}

/// One event for each state, for as long as somebody looks.
async fn state(State(room): State<Arc<Room>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut changes = room.state.subscribe();
    changes.mark_changed();
    let states = stream::unfold(changes, async |mut changes| {
        changes.changed().await.ok()?;
        let state = Arc::clone(&changes.borrow_and_update());
        Some((Ok(Event::default().data(state.as_ref())), changes))
    });
    Sse::new(states).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
}

async fn source(Path(path): Path<String>) -> Response {
    let Some(known) = SOURCES.into_iter().find(|known| *known == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::read_to_string(workspace_root().join(known)).await {
        Ok(text) => file("text/plain; charset=utf-8", text),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn act(State(room): State<Arc<Room>>, Path(name): Path<String>, wish: Option<Json<Wish>>) -> Response {
    let Json(wish) = wish.unwrap_or_default();
    let (status, text) = match action::act(&room, &name, &wish).await {
        None => (StatusCode::NOT_FOUND, format!("there is no switch {name:?}")),
        Some(Ok(done)) => {
            room.diary.say(&done);
            (StatusCode::OK, done)
        }
        Some(Err(error)) => {
            let text = action::in_words(&error);
            room.diary.say(&format!("{name}: {text}"));
            (StatusCode::CONFLICT, text)
        }
    };
    // What was asked for is seen before the answer.
    snapshot::publish(&room);
    (status, Json(json!({"text": text}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_that_the_tour_shows_is_there_and_linked() {
        for path in SOURCES {
            assert!(workspace_root().join(path).is_file(), "{path}");
            let link = format!("href=\"source/{path}\"");
            assert!(include_str!("page/page.html").contains(&link), "{link}");
        }
    }
}
