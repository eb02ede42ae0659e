//! `/workloads/{id}/terminals`: shells in what runs. What is typed and shown travels by websocket, in
//! [`super::terminal_socket`].

use axum::{
    Extension,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem, guard,
    problem::ProblemDocument,
    server::Place,
    terminal_socket::{self, Socket},
};
use crate::{
    domain::{
        caller::Caller,
        id::{JobId, TerminalId, UserId},
        terminal::TtySize,
        time::Timestamp,
        web_name::ServedId,
    },
    service::{Services, terminals::TerminalLine},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(close)).routes(routes!(attach))
}

/// A terminal to be opened.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct NewTerminal {
    /// Characters in a line, 1 to 1000: 80 when left out.
    cols: Option<u16>,
    /// Lines, 1 to 500: 24 when left out.
    rows: Option<u16>,
}

impl NewTerminal {
    fn size(&self) -> Result<TtySize, Problem> {
        let usual = TtySize::default();
        let (cols, rows) = (self.cols.unwrap_or(usual.cols()), self.rows.unwrap_or(usual.rows()));
        let field = if (1..=TtySize::MOST_COLS).contains(&cols) { "rows" } else { "cols" };
        TtySize::new(cols, rows).map_err(|error| Problem::invalid("out_of_range", field, error))
    }
}

/// A shell that is open in what runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TerminalView {
    #[schema(value_type = String, example = "tm4k2v0q8x1zcu")]
    id: TerminalId,
    /// The job, or the session of a notebook, in whose container it is.
    #[schema(value_type = String, example = "js3v54dfgz1zcu")]
    run: JobId,
    #[schema(value_type = String)]
    user: UserId,
    /// Whether it is the caller's, who alone may attach to it.
    own: bool,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    cols: u16,
    rows: u16,
    /// Whether its user looks at it now.
    attached: bool,
}

impl From<TerminalLine> for TerminalView {
    fn from(line: TerminalLine) -> Self {
        Self {
            id: line.id,
            run: line.run,
            user: line.user,
            own: line.is_own,
            opened_at: line.opened_at,
            cols: line.size.cols(),
            rows: line.size.rows(),
            attached: line.is_viewed,
        }
    }
}

/// All terminals of a workload.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TerminalList {
    items: Vec<TerminalView>,
}

/// List terminals
///
/// The terminals that are open in what a workload runs now, oldest first, whoever opened them.
#[utoipa::path(
    get, path = "/workloads/{id}/terminals", tag = "workloads",
    params(("id" = String, Path, description = "Id of a job, of a notebook, of a TensorBoard or of a session")),
    responses(
        (status = 200, description = "The terminals, a few at most", body = TerminalList),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such workload", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The notebook or TensorBoard was never started", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ServedId>,
) -> Result<Json<TerminalList>, Problem> {
    let items = services.terminals(&caller, &id).await?.into_iter().map(TerminalView::from).collect();
    Ok(Json(TerminalList { items }))
}

/// Open a terminal
///
/// Starts a shell, bash where the image has it, in the container of a workload that runs: as the container's user and in its
/// working directory. It runs on while nobody is attached, for ten minutes unless the admin says otherwise, and ends
/// with its container or with the daemon.
#[utoipa::path(
    post, path = "/workloads/{id}/terminals", tag = "workloads", request_body = Option<NewTerminal>,
    params(("id" = String, Path, description = "Id of a job, of a notebook, of a TensorBoard or of a session")),
    responses(
        (status = 201, description = "The shell runs", body = TerminalView),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such workload", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`workload_not_running`, `workload_over`, `terminal_failed` where its image has no shell, or `engine_unreachable`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "No terminal has such a size", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_terminals`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ServedId>,
    asked: Option<Json<NewTerminal>>,
) -> Result<(StatusCode, Json<TerminalView>), Problem> {
    let size = asked.map(|Json(asked)| asked).unwrap_or_default().size()?;
    let line = services.open_terminal(&caller, &id, size).await?;
    Ok((StatusCode::CREATED, Json(line.into())))
}

/// Close a terminal
///
/// Hangs up: what runs in the terminal is told so and ends, unless it was begun not to heed that. An admin may close
/// those of others.
#[utoipa::path(
    delete, path = "/workloads/{id}/terminals/{terminal}", tag = "workloads",
    params(
        ("id" = String, Path, description = "Id of a job, of a notebook, of a TensorBoard or of a session"),
        ("terminal" = String, Path, description = "Id of the terminal"),
    ),
    responses(
        (status = 204, description = "It is being closed"),
        (status = 403, description = "It is somebody else's, or the key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn close(
    State(services): State<Services>,
    caller: Caller,
    Path((id, terminal)): Path<(ServedId, TerminalId)>,
) -> Result<StatusCode, Problem> {
    services.close_terminal(&caller, &id, &terminal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attach to a terminal
///
/// A websocket. Binary messages are bytes, in both directions: what is typed, and what the terminal shows, from the last
/// 256 KiB on. Text messages are JSON. In: `{"type":"resize","cols":80,"rows":24}`, and
/// `{"type":"drawn","bytes":N}`, N counted from the beginning, from somebody who wants no more than 256 KiB to be
/// under way. Out: `{"type":"attached","replay":N,"cols":80,"rows":24}` first, where N bytes that follow were shown
/// before; `{"type":"ended","why":"exited","code":0}` or `{"type":"replaced"}` last, before the close.
///
/// Whoever was attached before is replaced. A browser has to be on a page of this box, and to offer the protocols
/// `gradientd.terminal` and `gradientd.session.PROOF`. The socket is closed within a second when the key or the
/// session ends.
#[utoipa::path(
    get, path = "/workloads/{id}/terminals/{terminal}/attach", tag = "workloads",
    params(
        ("id" = String, Path, description = "Id of a job, of a notebook, of a TensorBoard or of a session"),
        ("terminal" = String, Path, description = "Id of the terminal"),
    ),
    responses(
        (status = 101, description = "The websocket is open"),
        (status = 403, description = "It is somebody else's, the page is foreign, or the key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 426, description = "It is no websocket", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
async fn attach(
    State(services): State<Services>,
    Extension(shutdown): Extension<CancellationToken>,
    place: Option<Extension<Place>>,
    caller: Caller,
    lease: Lease,
    headers: HeaderMap,
    Path((id, terminal)): Path<(ServedId, TerminalId)>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    // The browser sends the cookie whoever asks, and a websocket is nothing that it keeps from other sites.
    if lease.session().is_some() && !guard::is_from_our_page(&headers) {
        let detail =
            "a session opens terminals only from this box's own pages: send a key as Authorization: Bearer gdk_…";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
    }
    let upgrade = upgrade.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", "a terminal is attached to by websocket alone")
    })?;
    let viewing = services.view_terminal(&caller, &id, &terminal).await?;
    let size = viewing.size();
    let upgrade = terminal_socket::bounded(upgrade);
    Ok(upgrade.on_upgrade(move |socket| async move {
        Socket { viewing, size, lease, shutdown, services }.talk(socket).await;
        drop(place);
    }))
}
