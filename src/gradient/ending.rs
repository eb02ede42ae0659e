//! Deleting what may not be over: the cloud stopped it first, and so the client expects that.

use std::time::Duration;

use axum::Json;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::held::held;
use crate::{
    api::{Lease, Problem},
    service::ServiceError,
};

/// How long a thing that is to be deleted may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Deletes a thing as the client expects it, as long as its key is good and the daemon goes on. One that is not
/// over, which `delete` says with the code `not_over`, is stopped first and waited for. `what` names it for people.
pub async fn destroy<Deleting, Stopping>(
    what: String,
    not_over: &'static str,
    delete: impl Fn() -> Deleting,
    end: impl Fn() -> Stopping,
    lease: Lease,
    stop: &CancellationToken,
) -> Result<Json<Value>, Problem>
where
    Deleting: Future<Output = Result<(), ServiceError>>,
    Stopping: Future<Output = Result<(), ServiceError>>,
{
    held(end_and_delete(&what, not_over, PATIENCE, delete, end), lease, stop).await?;
    Ok(Json(json!({})))
}

/// Deletes a thing. One that is not over, which `delete` says with the code `not_over`, is stopped first and
/// waited for. `what` names it for people.
pub async fn end_and_delete<Deleting, Stopping>(
    what: &str,
    not_over: &'static str,
    patience: Duration,
    delete: impl Fn() -> Deleting,
    stop: impl Fn() -> Stopping,
) -> Result<(), Problem>
where
    Deleting: Future<Output = Result<(), ServiceError>>,
    Stopping: Future<Output = Result<(), ServiceError>>,
{
    let until = Instant::now() + patience;
    let mut asked = false;
    loop {
        match delete().await {
            Err(ServiceError::Conflict { code, .. }) if code == not_over => {}
            done => return Ok(done?),
        }
        if Instant::now() >= until {
            return Err(Problem::conflict(not_over, format!("{what} is being stopped: delete it once it is over")));
        }
        if !asked {
            stop().await?;
            asked = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}
