//! `GET /invoices/totals`: what invoices add up to, by currency.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    Api, Error,
    access::Reader,
    openapi::parameters,
    query::{Parameters, RawQuery},
};
use crate::{invoice::Status, totals::Total};

/// All of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    totals: Vec<TotalView>,
}

/// Of one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Total)]
struct TotalView {
    currency: &'static str,
    count: i64,
    value: String,
}

impl From<Total> for TotalView {
    fn from(total: Total) -> Self {
        Self {
            currency: total.currency.code(),
            count: total.count,
            value: total.currency.decimal(total.minor_units),
        }
    }
}

/// Adds up the invoices of a status and a currency, or all.
#[utoipa::path(
    get, path = "/invoices/totals", tag = "Invoices", security(("token" = ["invoices:read"])),
    params(parameters::Totals), responses((status = 200, description = "By currency", body = Totals)),
)]
pub async fn get_totals(
    State(api): State<Arc<Api>>,
    _: Reader,
    query: RawQuery,
) -> Result<Json<Totals>, Error> {
    let mut parameters = Parameters::try_new(query)?;
    let status = parameters.take("status", Status::try_new);
    let currency = parameters.currency();
    parameters.finish()?;
    let totals = api.store.totals(status, currency).await?;
    Ok(Json(Totals {
        totals: totals.into_iter().map(TotalView::from).collect(),
    }))
}
