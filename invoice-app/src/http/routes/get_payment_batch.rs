//! `GET /payment-batches/{id}`: how the payments of one call stand now.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::http::{
    Api, Error,
    access::Reader,
    openapi::parameters,
    path_id::PathId,
    query::{Parameters, RawQuery},
    representation::BatchView,
};

/// Gets the counts of one batch.
#[utoipa::path(
    get, path = "/payment-batches/{id}", tag = "Payments", security(("token" = ["invoices:read"])),
    params(parameters::Id),
    responses(
        (status = 200, description = "How it stands", body = BatchView),
        (status = 404, description = "payment-batch-not-found"),
    ),
)]
pub async fn get_payment_batch(
    State(api): State<Arc<Api>>,
    _: Reader,
    id: PathId,
    query: RawQuery,
) -> Result<Json<BatchView>, Error> {
    Parameters::none(query)?;
    let parsed = id.parse(Error::NoBatch)?;
    let batch = api.store.batch(parsed).await?.ok_or(Error::NoBatch(id.0))?;
    Ok(Json(batch.into()))
}
