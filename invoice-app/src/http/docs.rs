//! `GET /openapi.json`, and `GET /docs`: a browser for it. Both need no token and no database, and load nothing from elsewhere.

use std::sync::Arc;

use axum::{Router, extract::Path, response::Response, routing::get};
use bytes::Bytes;
use serde_json::Value;
use utoipa_swagger_ui::Config;

use super::{Api, Error, page::file};

/// Looser than the page's: Swagger UI sets styles inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
    img-src 'self' data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What Swagger UI ships, with paths that do not depend on a trailing slash.
const INDEX: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>invoice-app: API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// The document, and what shows it.
pub(super) fn routes(document: &Value) -> Router<Arc<Api>> {
    let document = Bytes::from(document.to_string());
    // Its validator is a service of somebody else's.
    let config = Config::from("/openapi.json")
        .use_base_layout()
        .validator_url("none")
        .display_request_duration(true);
    let config = Arc::new(config);
    Router::new()
        .route(
            "/openapi.json",
            get(async || file("application/json", POLICY, document)),
        )
        .route("/docs", get(index))
        .route("/docs/", get(index))
        .route(
            "/docs/{file}",
            get(async |Path(name): Path<String>| asset(&name, config)),
        )
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
}

async fn index() -> Response {
    file("text/html; charset=utf-8", POLICY, INDEX)
}

fn asset(name: &str, config: Arc<Config<'static>>) -> Result<Response, Error> {
    let found = utoipa_swagger_ui::serve(name, config).ok().flatten();
    let found = found.ok_or(Error::NoRoute)?;
    Ok(file(&found.content_type, POLICY, found.bytes.into_owned()))
}
