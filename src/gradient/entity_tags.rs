//! `tags add` and `tags remove` of every resource but datasets: the client reads all tags of a thing,
//! and writes all that it is to have.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::{self, Problem, Query},
    domain::caller::Caller,
    service::{
        Services, experiments::ExperimentChange, job_draft::JobDraft, notebook_draft::NotebookDraft,
        projects::ProjectChange,
    },
};

/// A thing with tags.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    entity: String,
    entity_ids: String,
}

/// All tags that a thing is to have.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TagSet {
    entity: String,
    entity_id: String,
    #[serde(default)]
    tags: Vec<String>,
}

fn no_tags(entity: &str) -> Problem {
    Problem::invalid("bad_entity", "entity", format!("there are no tags of a thing called “{entity}” on this box"))
}

/// Returns the tags of one thing. One that has none is left out, as the client expects.
pub async fn get(
    State(services): State<Services>,
    caller: Caller,
    Query(asked): Query<Entity>,
) -> Result<Json<Value>, Problem> {
    let tags = match asked.entity.as_str() {
        "project" => services.project(&caller, &asked.entity_ids.parse()?).await?.tags,
        "job" => services.job(&caller, &asked.entity_ids.parse()?).await?.0.job.tags,
        "experiment" => services.experiment(&caller, &asked.entity_ids.parse()?).await?.experiment.tags,
        "notebook" => {
            let id = services.notebook_named(&caller, &asked.entity_ids).await?;
            services.notebook(&caller, &id).await?.notebook.tags
        }
        other => return Err(no_tags(other)),
    };
    let mut found = Map::new();
    if !tags.is_empty() {
        let rows = tags.iter().map(|tag| json!({ "tag": { "name": tag } })).collect();
        found.insert(asked.entity_ids, Value::Array(rows));
    }
    Ok(Json(Value::Object(found)))
}

/// Gives a thing other tags.
pub async fn update(
    State(services): State<Services>,
    caller: Caller,
    api::Json(set): api::Json<TagSet>,
) -> Result<Json<Value>, Problem> {
    match set.entity.as_str() {
        "project" => {
            let change = ProjectChange { name: None, tags: Some(set.tags) };
            services.change_project(&caller, &set.entity_id.parse()?, change).await?;
        }
        "job" => drop(services.set_job_tags(&caller, &set.entity_id.parse()?, set.tags).await?),
        "experiment" => {
            let change = ExperimentChange { name: None, tags: Some(set.tags) };
            services.change_experiment(&caller, &set.entity_id.parse()?, change).await?;
        }
        "notebook" => {
            let id = services.notebook_named(&caller, &set.entity_id).await?;
            let run = JobDraft { tags: Some(set.tags), ..JobDraft::default() };
            services.change_notebook(&caller, &id, NotebookDraft { run, ..NotebookDraft::default() }).await?;
        }
        other => return Err(no_tags(other)),
    }
    Ok(Json(json!({})))
}
