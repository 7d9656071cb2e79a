//! Loading and unloading versions on an operator's word.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::snapshot::{Order, RepositoryError};

type Names = Path<(String, String)>;
type Answer = (StatusCode, Json<Value>);

/// `POST /api/v1/models/MODEL/versions/VERSION/load`
pub(super) async fn load(State(admin): State<Arc<Admin>>, Path(names): Names) -> Answer {
    order(&admin, names, Order::Load).await
}

/// `POST /api/v1/models/MODEL/versions/VERSION/unload`
pub(super) async fn unload(State(admin): State<Arc<Admin>>, Path(names): Names) -> Answer {
    order(&admin, names, Order::Unload).await
}

async fn order(
    admin: &Admin,
    (model, version): (String, String),
    order: impl FnOnce(ModelName, Option<VersionName>) -> Order,
) -> Answer {
    if let Some(bad) = [&model, &version].into_iter().find(|name| !is_valid_name(name)) {
        return refusal(StatusCode::BAD_REQUEST, &format!("`{}` is no name", bad.escape_debug()));
    }
    let order = order(ModelName::new(model), Some(VersionName::new(version)));
    match admin.gateway.repository.order(order).await {
        Ok(()) => {
            let generation = admin.gateway.snapshots.load().generation.0;
            (StatusCode::OK, Json(json!({ "generation": generation })))
        }
        Err(error) => refusal(status(&error), &error.to_string()),
    }
}

fn refusal(status: StatusCode, words: &str) -> Answer {
    (status, Json(json!({ "error": words })))
}

fn status(error: &RepositoryError) -> StatusCode {
    match error {
        RepositoryError::UnknownModel(_) | RepositoryError::UnknownVersion(..) => {
            StatusCode::NOT_FOUND
        }
        RepositoryError::NotHere(_)
        | RepositoryError::Governed(_)
        | RepositoryError::Changed { .. }
        | RepositoryError::NothingHere(_)
        | RepositoryError::Needed(..) => StatusCode::CONFLICT,
        RepositoryError::Load(_) => StatusCode::UNPROCESSABLE_ENTITY,
        RepositoryError::Busy | RepositoryError::Closed => StatusCode::SERVICE_UNAVAILABLE,
    }
}
