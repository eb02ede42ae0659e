//! `/jobs/{id}/charts`: what a job printed as points, and what it pushed as metrics.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, Query, problem::ProblemDocument};
use crate::{
    domain::{
        caller::Caller,
        id::JobId,
        series::{ChartSource, SeriesSummary},
    },
    service::{Services, numbers::Drawn},
};

/// Points of a curve when the client does not say.
const DEFAULT_POINTS: usize = 500;
/// Most points of a curve.
const MOST_POINTS: usize = 10_000;

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// How many points the client wants, if it says.
///
/// # Errors
/// A 422 below 2 and above 10000.
pub(super) fn points(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted {
        None => Ok(DEFAULT_POINTS),
        Some(points) if (2..=MOST_POINTS).contains(&points) => Ok(points),
        Some(_) => {
            let detail = format!("points must be a number from 2 to {MOST_POINTS}");
            Err(Problem::invalid("invalid_query", "points", detail))
        }
    }
}

/// The charts of a job.
#[derive(Debug, Serialize, ToSchema)]
struct Charts {
    items: Vec<ChartSummary>,
}

/// A chart as a list shows it.
#[derive(Debug, Serialize, ToSchema)]
struct ChartSummary {
    name: String,
    source: Source,
    points: u64,
    /// The point that was printed last, or that stands at the greatest step.
    last: Option<PointView>,
}

/// Where the points of a chart come from: `printed` as lines of output, or `pushed` as metrics.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Source {
    Printed,
    Pushed,
}

impl From<ChartSource> for Source {
    fn from(source: ChartSource) -> Self {
        match source {
            ChartSource::Printed => Self::Printed,
            ChartSource::Pushed => Self::Pushed,
        }
    }
}

impl From<Source> for ChartSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Printed => Self::Printed,
            Source::Pushed => Self::Pushed,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct PointView {
    x: f64,
    y: f64,
}

impl From<(ChartSource, SeriesSummary)> for ChartSummary {
    fn from((source, summary): (ChartSource, SeriesSummary)) -> Self {
        let last = summary.last.map(|(x, y)| PointView { x, y });
        Self { name: summary.name.name, source: source.into(), points: summary.points, last }
    }
}

/// A curve, drawn down to about as many points as were asked for.
#[derive(Debug, Serialize, ToSchema)]
struct ChartView {
    name: String,
    source: Source,
    /// In rising order.
    x: Vec<f64>,
    y: Vec<f64>,
    /// Points that there are.
    total: usize,
}

impl From<(ChartSource, Drawn)> for ChartView {
    fn from((source, drawn): (ChartSource, Drawn)) -> Self {
        let (x, y) = drawn.points.into_iter().unzip();
        Self { name: drawn.name.name, source: source.into(), x, y, total: drawn.total }
    }
}

/// List a job's charts
///
/// Of its latest attempt. A job makes a chart by printing lines such as
/// `{"chart": "loss", "x": 1, "y": 0.5}`, or by pushing metrics to the address in
/// `PAPERSPACE_METRIC_PUSHGATEWAY`, as `gradient_utils` and the clients of Prometheus' push gateway do. A pushed
/// chart is named by its metric and by the labels that tell it from others: `loss{phase="train"}`.
#[utoipa::path(
    get, path = "/jobs/{id}/charts", tag = "jobs", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 200, description = "All of them, by name", body = Charts),
        (status = 404, description = "There is no such job", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<Charts>, Problem> {
    let charts = services.charts(&caller, &id).await?;
    Ok(Json(Charts { items: charts.into_iter().map(ChartSummary::from).collect() }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChartQuery {
    /// About how many points to draw it with: 2 to 10000; 500 when left out.
    points: Option<usize>,
    /// Which of the two, where a printed and a pushed chart have one name; the printed one when left out.
    source: Option<Source>,
}

/// Draw a chart
#[utoipa::path(
    get, path = "/jobs/{id}/charts/{name}", tag = "jobs",
    params(("id" = String, Path, description = "Id of a job"), ("name" = String, Path, description = "Name of a chart, percent-encoded"), ChartQuery),
    responses(
        (status = 200, description = "The curve", body = ChartView),
        (status = 404, description = "There is no such job or chart", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path((id, name)): Path<(JobId, String)>,
    Query(query): Query<ChartQuery>,
) -> Result<Json<ChartView>, Problem> {
    let source = query.source.map(ChartSource::from);
    let drawn = services.chart(&caller, &id, name, source, points(query.points)?).await?;
    Ok(Json(drawn.into()))
}
