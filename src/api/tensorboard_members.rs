//! `/tensorboards/{id}/members`: what a TensorBoard shows. One that runs begins a new session when that changes.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Path, Problem,
    problem::ProblemDocument,
    tensorboard_wire::{MemberView, MembersText, TensorBoardDetail, drafts, member_views},
    tensorboards::detail,
};
use crate::{
    domain::{caller::Caller, id::TensorBoardId},
    service::Services,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(add_members, members)).routes(routes!(remove_member))
}

/// What a TensorBoard shows.
#[derive(Serialize, ToSchema)]
struct MemberList {
    /// In the order in which they were added; at most 64.
    items: Vec<MemberView>,
}

/// List members of a TensorBoard
#[utoipa::path(
    get, path = "/tensorboards/{id}/members", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    responses(
        (status = 200, description = "All of them", body = MemberList),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn members(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<MemberList>, Problem> {
    let now = services.tensorboard(&caller, &id).await?;
    let members = services.tensorboard_members(&caller, &id).await?;
    Ok(Json(MemberList { items: member_views(&now, members) }))
}

/// Add members to a TensorBoard
///
/// All of them or none. One that runs begins a new session, at the same address, and shows them within
/// seconds.
#[utoipa::path(
    post, path = "/tensorboards/{id}/members", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    request_body = MembersText,
    responses(
        (status = 200, description = "The TensorBoard as it stands", body = TensorBoardDetail),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such TensorBoard, or a member is not there", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is a member already, or another one is called so", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn add_members(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
    Json(MembersText { members }): Json<MembersText>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.add_tensorboard_members(&caller, &id, drafts(members)?).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

/// Remove a member from a TensorBoard
///
/// One that runs begins a new session, at the same address, without it. What was shown stays where it is.
#[utoipa::path(
    delete, path = "/tensorboards/{id}/members/{name}", tag = "tensorboards",
    params(
        ("id" = String, Path, description = "Id of a TensorBoard"),
        ("name" = String, Path, description = "Name of a member, or the id of what it shows"),
    ),
    responses(
        (status = 200, description = "The TensorBoard as it stands", body = TensorBoardDetail),
        (status = 404, description = "There is no such TensorBoard, or it has no such member", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn remove_member(
    State(services): State<Services>,
    caller: Caller,
    Path((id, name)): Path<(TensorBoardId, String)>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.remove_tensorboard_members(&caller, &id, vec![name]).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::{
        router::tests::{Answer, Api},
        tensorboards::tests::{board, experiment, job, notebook},
    };

    fn names(answer: &Answer) -> Vec<&str> {
        answer.body["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn it_shows_what_it_is_told_to_and_says_what_is_gone() {
        let api = Api::new().await;
        let (one, two, notebook) = (job(&api, "train").await, job(&api, "train").await, notebook(&api).await);
        let experiment = experiment(&api).await;
        let version = api.committed("logs", &[("events", "x")]).await;
        let members = json!([
            { "job": one }, { "job": two }, { "experiment": experiment, "name": "all of them" },
            { "notebook": notebook, "path": "runs/./a/" }, { "dataset": "logs:latest" },
        ]);
        let made = board(&api, members).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(names(&made), ["train", &format!("train-{two}"), "all of them", "lab-runs-a", "logs"]);
        assert_eq!((&made.body["state"], &made.body["memberCount"]), (&json!("created"), &json!(5)));
        let member = |answer: &Answer, at: usize| answer.body["members"][at].clone();
        assert_eq!(member(&made, 3)["path"], "runs/a");
        assert!(version.ends_with(member(&made, 4)["version"].as_str().unwrap()), "{version}");
        assert_eq!((&member(&made, 3)["title"], &member(&made, 3)["gone"]), (&json!("lab"), &json!(false)));
        let states: Vec<_> = (0..5).map(|at| member(&made, at)["state"].clone()).collect();
        assert_eq!(json!(states), json!(["pending", "pending", "created", null, null]));

        assert_eq!(api.ask("DELETE", &format!("notebooks/{notebook}"), None).await.status, 204);
        let id = made.body["id"].as_str().unwrap();
        let found = api.ask("GET", &format!("tensorboards/{id}"), None).await;
        assert_eq!((&member(&found, 3)["title"], &member(&found, 3)["gone"]), (&Value::Null, &json!(true)));
        // What is gone is left out, with a word, and is no reason not to start.
        let started = api.ask("POST", &format!("tensorboards/{id}/start"), None).await;
        assert_eq!((started.status.as_u16(), &started.body["state"]), (200, &json!("pending")), "{}", started.text);
        assert!(member(&started, 3)["message"].as_str().unwrap().contains("deleted"), "{}", started.text);
        assert!(member(&started, 2)["message"].as_str().unwrap().contains("no runs yet"), "{}", started.text);
        assert_eq!(member(&started, 0)["message"], Value::Null);

        for (named, left) in [("all%20of%20them", 4), (one.as_str(), 3)] {
            let path = format!("tensorboards/{id}/members/{named}");
            assert_eq!(api.ask("DELETE", &path, None).await.body["memberCount"], left);
            assert_eq!(api.ask("DELETE", &path, None).await.problem(), (404, "member_not_found"));
        }
    }

    #[tokio::test]
    async fn no_name_and_no_path_leads_out() {
        let api = Api::new().await;
        let (job, notebook) = (job(&api, "train").await, notebook(&api).await);
        for name in ["..", ".", "", "a/b", "../../etc", "a\nb", &"x".repeat(129)] {
            let answer = board(&api, json!([{ "job": job, "name": name }])).await;
            assert_eq!(answer.problem(), (422, "bad_name"), "{name:?}");
        }
        for path in ["..", "/etc", "a/../../..", "a\u{0}b", "a\nb", &"x/".repeat(3000)] {
            let answer = board(&api, json!([{ "notebook": notebook, "path": path }])).await;
            assert_eq!(answer.problem(), (422, "bad_path"), "{path:?}");
        }
        for strange in
            [json!([{}]), json!([{ "job": job, "notebook": notebook }]), json!([{ "job": job, "path": "x" }])]
        {
            assert_eq!(board(&api, strange).await.problem(), (422, "one_of"));
        }
        assert_eq!(api.ask("GET", "tensorboards", None).await.body["items"], json!([]));
    }

    #[tokio::test]
    async fn it_has_as_many_members_as_one_can_look_at() {
        let api = Api::new().await;
        let mut jobs = Vec::new();
        for _ in 0..65 {
            jobs.push(json!({ "job": job(&api, "train").await }));
        }
        assert_eq!(board(&api, jobs.clone().into()).await.problem(), (422, "too_many_members"));
        let many: Vec<_> = (0..5000).map(|_| jobs[0].clone()).collect();
        assert_eq!(board(&api, many.into()).await.problem(), (422, "too_many_members"));
        let full = board(&api, jobs[..64].into()).await;
        assert_eq!(full.status, 201, "{}", full.text);
        let path = format!("tensorboards/{}/members", full.body["id"].as_str().unwrap());
        let more = api.ask("POST", &path, Some(json!({ "members": [jobs[64]] }))).await;
        assert_eq!(more.problem(), (422, "too_many_members"));
        let again = board(&api, json!([jobs[0], jobs[0]])).await;
        assert_eq!(again.problem(), (409, "already_member"));
        let alike = json!([{ "job": jobs[0]["job"], "name": "a" }, { "job": jobs[1]["job"], "name": "a" }]);
        assert_eq!(board(&api, alike).await.problem(), (409, "name_taken"));
    }
}
