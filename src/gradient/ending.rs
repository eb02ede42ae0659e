//! Deleting what may not be over: the cloud stopped it first, and so the client expects that.

use std::time::Duration;

use tokio::time::Instant;

use crate::{api::Problem, service::ServiceError};

/// How long a thing that is to be deleted may take to end.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

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
