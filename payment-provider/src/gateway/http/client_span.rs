//! The span of a call to the bank, by the semantic conventions for HTTP. Its ids stay in this house: the bank is told none of them.

use reqwest::{Method, StatusCode, Url};
use service::traces::{KeyValue, Span, SpanBuilder, SpanKind};

/// A call under way. One that is given up before there is an answer has failed.
pub(super) struct ClientSpan {
    span: Span,
    answered: bool,
}

impl ClientSpan {
    pub(super) fn begin(method: &Method, url: &Url) -> Self {
        Self {
            span: Span::begin_here(|| described(method, url)),
            answered: false,
        }
    }

    /// The answer's status is there, or there will be none.
    pub(super) fn answered(&mut self, status: Result<StatusCode, &reqwest::Error>) {
        self.answered = true;
        match status {
            Ok(status) => {
                self.span
                    .set("http.response.status_code", i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    self.span.failed(status.as_str().to_owned());
                }
            }
            Err(error) if error.is_connect() => self.span.failed("connect"),
            Err(_) => self.span.failed("broken_off"),
        }
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        if !self.answered {
            self.span.failed("timeout");
        }
    }
}

fn described(method: &Method, url: &Url) -> SpanBuilder {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_string()),
        KeyValue::new("url.full", url.to_string()),
    ];
    attributes.extend(
        url.host_str()
            .map(|host| KeyValue::new("server.address", host.to_owned())),
    );
    attributes.extend(
        url.port_or_known_default()
            .map(|port| KeyValue::new("server.port", i64::from(port))),
    );
    SpanBuilder::from_name(method.to_string())
        .with_kind(SpanKind::Client)
        .with_attributes(attributes)
}
