//! `/openapi.json`: the description of the API, made from the handlers themselves.

use axum::{Router, routing};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, Content, OpenApi as Document, Ref, ResponseBuilder, SecurityRequirement,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{Json, cookie, problem::ProblemDocument};
use crate::service::Services;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "gradientd",
        description = "Runs jobs, notebooks and versioned data on one machine's GPUs. Times are RFC 3339 in UTC, \
                       sizes are bytes, durations are seconds. Lists are newest first; pass `next` back as `cursor`. \
                       Errors are `application/problem+json` with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Schemes),
    tags(
        (name = "jobs", description = "Runs of a command in a container"),
        (name = "experiments", description = "Settings of jobs that are kept, to be run again and again"),
        (name = "tensorboards", description = "Views of what runs wrote, started when somebody opens them"),
        (name = "workloads", description = "What containers serve"),
        (name = "files", description = "What is in notebooks and in /storage, whether anything runs or not"),
        (name = "datasets", description = "Files that belong together, in versions that never change once committed"),
        (name = "dataset files", description = "What is in a version: put, fetched, listed, compared"),
        (name = "uploads", description = "Archives that become workspaces"),
        (name = "projects", description = "What belongs together"),
        (name = "storage", description = "Where files lie, and what they use"),
        (name = "secrets", description = "Names whose values only containers see"),
        (name = "keys", description = "Who may use the API"),
        (name = "session", description = "Browsers that signed in"),
        (name = "box", description = "The machine itself"),
    ),
)]
struct Base;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("gdk_…");
        components.add_security_scheme("key", SecurityScheme::Http(key.build()));
        let session = ApiKeyValue::with_description(
            cookie::NAME,
            "Set by POST /api/v1/session; good for looking, and with the answer's proof in X-Gradientd-Session for all",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    }
}

/// Returns the description of `closed` routes, which need a key or a session, and `open` ones.
pub fn describe(closed: Document, open: Document) -> Document {
    let mut document = Base::openapi();
    let mut closed = closed;
    for operation in operations(&mut closed) {
        let either = ["key", "session"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        operation.security = Some(either.into());
    }
    document.merge(closed);
    document.merge(open);
    // The router's way to say “the rest of the path” is none of OpenAPI's.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for operation in operations(&mut document) {
        let problem = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
        let problem = ResponseBuilder::new().description("What is wrong").content("application/problem+json", problem);
        operation.responses.responses.entry("default".to_owned()).or_insert(problem.build().into());
    }
    document
}

fn operations(document: &mut Document) -> impl Iterator<Item = &mut utoipa::openapi::path::Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
            .into_iter()
            .flatten()
    })
}

/// Returns the route that shows the document, to everybody: it is in the source code anyway.
pub fn route(document: Document) -> Router<Services> {
    Router::new().route("/api/v1/openapi.json", routing::get(move || async move { Json(document) }))
}

#[cfg(test)]
mod tests {
    use crate::api::router::document;

    /// What clients have been promised.
    const PROMISED: &[(&str, &[&str])] = &[
        ("/session", &["get", "post", "delete"]),
        ("/keys", &["get", "post"]),
        ("/keys/{id}", &["delete"]),
        ("/projects", &["get", "post"]),
        ("/projects/{id}", &["get", "patch", "delete"]),
        ("/secrets", &["get", "put"]),
        ("/secrets/{id}", &["delete"]),
        ("/jobs", &["get", "post"]),
        ("/jobs/{id}", &["get", "delete"]),
        ("/jobs/{id}/stop", &["post"]),
        ("/workloads/{id}/open", &["post"]),
        ("/workloads/{id}/tokens", &["post"]),
        ("/workloads/{id}/terminals", &["get", "post"]),
        ("/workloads/{id}/terminals/{terminal}", &["delete"]),
        ("/workloads/{id}/terminals/{terminal}/attach", &["get"]),
        ("/jobs/{id}/clone", &["post"]),
        ("/experiments", &["get", "post"]),
        ("/experiments/{id}", &["get", "patch", "delete"]),
        ("/experiments/{id}/start", &["post"]),
        ("/experiments/{id}/stop", &["post"]),
        ("/jobs/{id}/logs", &["get"]),
        ("/jobs/{id}/logs/download", &["get"]),
        ("/jobs/{id}/charts", &["get"]),
        ("/jobs/{id}/charts/{name}", &["get"]),
        ("/jobs/{id}/metrics", &["get"]),
        ("/jobs/{id}/artifacts", &["get", "delete"]),
        ("/jobs/{id}/artifacts/{path}", &["get", "delete"]),
        ("/jobs/{id}/artifacts.tar", &["get"]),
        ("/jobs/{id}/artifacts.zip", &["get"]),
        ("/tensorboards", &["get", "post"]),
        ("/tensorboards/{id}", &["get", "patch", "delete"]),
        ("/tensorboards/{id}/start", &["post"]),
        ("/tensorboards/{id}/stop", &["post"]),
        ("/tensorboards/{id}/members", &["get", "post"]),
        ("/tensorboards/{id}/members/{name}", &["delete"]),
        ("/uploads", &["post"]),
        ("/datasets", &["get", "post"]),
        ("/datasets/resolve", &["get"]),
        ("/datasets/{dataset}", &["get", "patch", "delete"]),
        ("/datasets/{dataset}/lineage", &["get"]),
        ("/datasets/{dataset}/tags", &["get"]),
        ("/datasets/{dataset}/tags/{tag}", &["put", "delete"]),
        ("/datasets/{dataset}/versions", &["get", "post"]),
        ("/datasets/{dataset}/versions/{version}", &["get", "patch", "delete"]),
        ("/datasets/{dataset}/versions/{version}.tar", &["get", "put"]),
        ("/datasets/{dataset}/versions/{version}.zip", &["get"]),
        ("/datasets/{dataset}/versions/{version}/commit", &["post"]),
        ("/datasets/{dataset}/versions/{version}/diff", &["get"]),
        ("/datasets/{dataset}/versions/{version}/files", &["get"]),
        ("/datasets/{dataset}/versions/{version}/files/{path}", &["get", "put", "delete"]),
        ("/datasets/{dataset}/versions/{version}/known", &["post"]),
        ("/datasets/{dataset}/versions/{version}/lineage", &["get"]),
        ("/datasets/{dataset}/versions/{version}/multipart", &["get", "post"]),
        ("/datasets/{dataset}/versions/{version}/multipart/{id}", &["delete"]),
        ("/datasets/{dataset}/versions/{version}/multipart/{id}/{part}", &["put"]),
        ("/datasets/{dataset}/versions/{version}/multipart/{id}/complete", &["post"]),
        ("/datasets/{dataset}/versions/{version}/signed-urls", &["post"]),
        ("/signed/{dataset}/{version}/{path}", &["get", "head", "put", "delete"]),
        ("/signed/artifacts/{id}/{path}", &["get"]),
        ("/machine-types", &["get"]),
        ("/gpus", &["get"]),
        ("/queue", &["get"]),
        ("/box", &["get"]),
        ("/events", &["get"]),
        ("/healthz", &["get"]),
        ("/metrics", &["get"]),
    ];

    #[test]
    fn every_promised_path_is_described() {
        let document = serde_json::to_value(document()).unwrap();
        for (path, methods) in PROMISED {
            for method in *methods {
                let operation = &document["paths"][format!("/api/v1{path}")][method];
                assert!(operation["summary"].is_string(), "{method} {path} is not described");
                assert!(operation["responses"]["default"].is_object(), "{method} {path} says nothing of problems");
            }
        }
        assert_eq!(document["info"]["title"], "gradientd");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let schemes: Vec<_> = document["components"]["securitySchemes"].as_object().unwrap().keys().collect();
        assert_eq!(schemes, ["key", "session"]);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for (at, start) in text.match_indices("#/components/schemas/") {
            let rest = &text[at + start.len()..];
            let name = &rest[..rest.find('"').unwrap()];
            assert!(document["components"]["schemas"][name].is_object(), "{name} is named and not described");
        }
    }
}
