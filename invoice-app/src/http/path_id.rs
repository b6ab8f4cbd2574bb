//! The id in a path, as it was written: extracted whatever it is, since what is not an id is not found.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::Error;

/// Shortened: no form of a UUID is longer, and what is echoed stays short.
pub struct PathId(pub String);

impl PathId {
    /// The id, or that there is no such thing.
    pub fn parse<I: FromStr>(&self, unknown: fn(String) -> Error) -> Result<I, Error> {
        self.0.parse().map_err(|_| unknown(self.0.clone()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id.chars().take(64).collect())),
            Err(_) => Err(Error::Malformed("the path is not UTF-8".to_owned())),
        }
    }
}
