//! `/teams`: whose links the client prints.

use axum::{Json, extract::State};

use crate::{api::Problem, domain::caller::Caller, service::Services};

/// Returns the team's name, the first part of the links that the client prints.
pub async fn namespace(State(services): State<Services>, caller: Caller) -> Result<Json<String>, Problem> {
    Ok(Json(services.who_am_i(&caller).await?.team_name))
}
