//! `GET /payment-batches/{id}`: how the payments of one call stand now.

use std::{str::FromStr as _, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};

use crate::batch_id::BatchId;
use crate::http::{
    Api, Error,
    access::Reader,
    openapi::parameters,
    post::path_id,
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
    path: Result<Path<String>, PathRejection>,
    query: RawQuery,
) -> Result<Json<BatchView>, Error> {
    Parameters::none(query)?;
    let id = path_id(path)?;
    let parsed = BatchId::from_str(&id).map_err(|_| Error::NoBatch(id.clone()))?;
    let batch = api.store.batch(parsed).await?.ok_or(Error::NoBatch(id))?;
    Ok(Json(batch.into()))
}
