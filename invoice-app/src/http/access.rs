//! Who may call what: extractors that a handler names, one for each scope, so that its signature shows what it needs.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use time::OffsetDateTime;

use super::{Api, Error};
use crate::tokens::{Caller, Scope, Tokens};

/// Who is let in.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody.
    Open,
    /// Those with a token.
    Tokens(Arc<RwLock<Arc<Tokens>>>),
}

impl Access {
    /// Who calls, whatever it may do.
    pub(super) fn name(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let tokens = match self {
            Self::Open => return Some(Caller::anybody().name),
            Self::Tokens(tokens) => Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner)),
        };
        let caller = tokens.find(bearer(headers)?, OffsetDateTime::now_utc())?;
        Some(caller.name)
    }

    fn caller(&self, parts: &Parts, scope: Scope) -> Result<Caller, Error> {
        let tokens = match self {
            Self::Open => return Ok(Caller::anybody()),
            Self::Tokens(tokens) => Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner)),
        };
        let token = bearer(&parts.headers).ok_or(Error::Unauthorized)?;
        let caller = tokens
            .find(token, OffsetDateTime::now_utc())
            .ok_or(Error::UnknownToken)?;
        if caller.may(scope) {
            Ok(caller)
        } else {
            Err(Error::Forbidden(scope))
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let only = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    only.then(|| token.trim())
}

/// Names callers by the scope that they have.
macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident: $scope:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub Caller);

        impl FromRequestParts<Arc<Api>> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Error> {
                api.access.caller(parts, $scope).map(Self)
            }
        }
    )*};
}

callers! {
    /// A caller with `invoices:read`.
    Reader: Scope::Read;
    /// A caller with `invoices:write`.
    Writer: Scope::Write;
    /// A caller with `invoices:pay`.
    Payer: Scope::Pay;
}
