//! `/jobs/{id}/logs`: lines as text, as JSON, or as they come; and the whole log as a file.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Lease, Path, Problem, Query, download, log_follow, problem::ProblemDocument, sse::LastEventId};
use crate::{
    domain::{caller::Caller, id::JobId, output::Stream, time::Timestamp},
    service::{Services, blocking, logs::LogQuery},
    storage::log::{Row, Source},
};

/// Lines of an answer when the client does not say.
const DEFAULT_LINES: usize = 1000;
/// Most lines of an answer.
const MOST_LINES: usize = 10_000;
/// Longest text to look for, in characters.
const LONGEST_TEXT: usize = 1000;

/// Returns the routes of this resource. They need the daemon's [`CancellationToken`] as an extension.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(read)).routes(routes!(whole))
}

/// Which lines somebody wants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// The first line; they are numbered from 0.
    #[serde(default)]
    start: u64,
    /// 1 to 10000; 1000 when left out.
    limit: Option<usize>,
    /// The attempt, numbered from 1; the latest when left out.
    attempt: Option<u32>,
    /// Only lines with this text in them, in any case.
    q: Option<String>,
    /// The last so many lines, instead of those from `start` on.
    tail: Option<usize>,
}

impl LogsQuery {
    fn checked(self) -> Result<LogQuery, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LINES);
        if !(1..=MOST_LINES).contains(&limit) {
            let detail = format!("limit must be a number from 1 to {MOST_LINES}");
            return Err(Problem::invalid("invalid_query", "limit", detail));
        }
        refuse_attempt_0(self.attempt)?;
        let text = self.q.filter(|text| !text.is_empty());
        if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
            let detail = format!("q is longer than {LONGEST_TEXT} characters: look for less");
            return Err(Problem::invalid("invalid_query", "q", detail));
        }
        // A tail alone says how many.
        let limit = self.tail.filter(|_| self.limit.is_none()).map_or(limit, |tail| tail.min(MOST_LINES));
        Ok(LogQuery { start: self.start, limit, tail: self.tail, text, attempt: self.attempt })
    }
}

fn refuse_attempt_0(attempt: Option<u32>) -> Result<(), Problem> {
    match attempt {
        Some(0) => Err(Problem::invalid("invalid_query", "attempt", "attempts are numbered from 1")),
        _ => Ok(()),
    }
}

/// One line. `\r` and colours are in the text as they were written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogLine<'a> {
    line: u64,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// `stdout`, `stderr`, or `system` for the daemon's own words.
    stream: &'static str,
    text: &'a str,
    /// The line goes on in the next one of the same stream.
    partial: bool,
}

impl<'a> LogLine<'a> {
    /// Shows a line.
    pub(super) fn of(row: &'a Row) -> Self {
        Self {
            line: row.line,
            time: row.time.timestamp(),
            stream: match row.source {
                Source::Output(Stream::Stdout) => "stdout",
                Source::Output(Stream::Stderr) => "stderr",
                Source::System | Source::Cut => "system",
            },
            text: &row.text,
            partial: row.partial,
        }
    }
}

/// Some lines.
#[derive(Debug, Serialize, ToSchema)]
struct LogLines<'a> {
    items: Vec<LogLine<'a>>,
    /// The `start` of the next page; null at the present end.
    next: Option<u64>,
    /// Lines that there are now.
    total: u64,
    /// No line will be added any more.
    ended: bool,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Events,
}

impl Form {
    /// Returns the form that the client likes best: text when it does not say, or likes none of ours.
    fn of(headers: &HeaderMap) -> Self {
        let mut best = (0.0, Self::Text);
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let form = match parts.next().as_deref() {
                Some("text/event-stream") => Self::Events,
                Some("application/json" | "application/*") => Self::Json,
                Some("text/plain" | "text/*" | "*/*") => Self::Text,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, form);
            }
        }
        best.1
    }
}

/// Read or follow a job's log
///
/// `Accept` chooses the form: `text/plain`, the default; `application/json`, a page with numbers,
/// times and streams; or `text/event-stream`, which goes on as lines are written: `event: line`, with
/// the line's number as id and the line as data, and `event: end` when no more will come.
#[utoipa::path(
    get, path = "/jobs/{id}/logs", tag = "logs",
    params(
        ("id" = String, Path, description = "Id of a job"), LogsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Follows from the line after this one"),
    ),
    responses(
        (status = 200, description = "Lines", content((LogLines = "application/json"), (String = "text/plain"), (String = "text/event-stream"))),
        (status = 404, description = "There is no such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
async fn read(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Extension(stop): Extension<CancellationToken>,
    Path(id): Path<JobId>,
    Query(query): Query<LogsQuery>,
    last: LastEventId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.checked()?;
    match Form::of(&headers) {
        Form::Events => log_follow::answer(services, caller, lease, stop, id, query, last).await,
        Form::Json => {
            let page = services.log(&caller, &id, query).await?;
            let items = page.rows.iter().map(LogLine::of).collect();
            Ok(Json(LogLines { items, next: page.next, total: page.total, ended: page.ended }).into_response())
        }
        Form::Text => {
            let page = services.log(&caller, &id, query).await?;
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
            Ok((kind, text(&page.rows)).into_response())
        }
    }
}

/// Writes lines as they were, pieces of one line together unless another stream came in between.
fn text(rows: &[Row]) -> String {
    let mut text = String::with_capacity(rows.iter().map(|row| row.text.len() + 1).sum());
    let mut open = None;
    for row in rows {
        if open.is_some_and(|source| source != row.source) {
            text.push('\n');
        }
        text.push_str(&row.text);
        if !row.partial {
            text.push('\n');
        }
        open = row.partial.then_some(row.source);
    }
    text
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DownloadQuery {
    /// The attempt, numbered from 1; the latest when left out.
    attempt: Option<u32>,
}

/// Download a job's whole log
///
/// As it stands now.
#[utoipa::path(
    get, path = "/jobs/{id}/logs/download", tag = "logs", params(("id" = String, Path, description = "Id of a job"), DownloadQuery),
    responses(
        (status = 200, description = "The log", content_type = "text/plain"),
        (status = 404, description = "There is no such job", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn whole(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<JobId>,
    Query(query): Query<DownloadQuery>,
) -> Result<Response, Problem> {
    refuse_attempt_0(query.attempt)?;
    let segments = services.log_download(&caller, &id, query.attempt).await?;
    let pieces = stream::unfold(segments, |mut segments| async {
        let (piece, segments) = blocking(move || (segments.next(), segments)).await;
        Some((piece?.map(Into::into), segments))
    });
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CONTENT_DISPOSITION, download::attachment(&format!("{id}.log"))),
    ];
    Ok((head, download::body(pieces, lease)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::output::EngineTime;

    #[test]
    fn the_form_is_what_the_client_likes_best() {
        for (accept, expected) in [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/plain"), Form::Text),
            (Some("application/json"), Form::Json),
            (Some("text/event-stream"), Form::Events),
            (Some("text/html, application/json;q=0.9, */*;q=0.8"), Form::Json),
            (Some("application/json;q=0.5, text/plain"), Form::Text),
            (Some("TEXT/EVENT-STREAM; charset=utf-8"), Form::Events),
            (Some("application/json;q=0"), Form::Text),
            (Some("image/png"), Form::Text),
            (Some(";;,q=,\u{7f}"), Form::Text),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                let Ok(value) = HeaderValue::from_bytes(accept.as_bytes()) else { continue };
                headers.insert(header::ACCEPT, value);
            }
            assert_eq!(Form::of(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn text_joins_the_pieces_of_a_line_and_parts_streams() {
        let row = |text: &str, source, partial| Row {
            line: 0,
            time: EngineTime { seconds: 0, nanos: 0 },
            source,
            text: text.into(),
            partial,
        };
        let (out, err) = (Source::Output(Stream::Stdout), Source::Output(Stream::Stderr));
        let rows = [
            row("a", out, true),
            row("b\r", out, false),
            row("c", out, true),
            row("d", err, false),
            row("e", out, true),
        ];
        assert_eq!(text(&rows), "ab\r\nc\nd\ne");
    }

    #[test]
    fn a_query_out_of_bounds_names_its_parameter() {
        let query = || LogsQuery { start: 0, limit: None, attempt: None, q: None, tail: None };
        assert_eq!(query().checked().unwrap().limit, 1000);
        assert_eq!(LogsQuery { tail: Some(5000), ..query() }.checked().unwrap().limit, 5000);
        for wrong in [
            LogsQuery { limit: Some(0), ..query() },
            LogsQuery { limit: Some(10_001), ..query() },
            LogsQuery { attempt: Some(0), ..query() },
            LogsQuery { q: Some("x".repeat(1001)), ..query() },
        ] {
            assert_eq!(wrong.checked().unwrap_err().code(), "invalid_query");
        }
    }
}
