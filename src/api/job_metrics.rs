//! `/jobs/{id}/metrics`: what a job used of the box over time.

use std::str::FromStr;

use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, Query, job_charts::points, problem::ProblemDocument};
use crate::{
    domain::{caller::Caller, id::JobId, time::Timestamp},
    service::{Services, numbers::Drawn},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// A time in whole seconds since 1970, written so or as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Second(i64);

impl FromStr for Second {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A fraction is allowed, for clients that divide milliseconds.
        let whole = match text.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => whole,
            _ => text,
        };
        if let Ok(seconds) = whole.parse() {
            return Ok(Self(seconds));
        }
        let time: Timestamp =
            text.parse().map_err(|_| "not a time: write seconds since 1970, or 2026-01-31T08:00:00Z")?;
        Ok(Self(time.0.div_euclid(1_000_000)))
    }
}

impl<'de> Deserialize<'de> for Second {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MetricsQuery {
    /// About how many points to draw each series with: 2 to 10000; 500 when left out.
    points: Option<usize>,
    /// The first second: since 1970, or as RFC 3339.
    #[param(value_type = Option<String>)]
    from: Option<Second>,
    /// The last second.
    #[param(value_type = Option<String>)]
    to: Option<Second>,
}

/// What a job used.
#[derive(Debug, Serialize, ToSchema)]
struct Metrics {
    series: Vec<MetricView>,
}

/// One quantity over time.
#[derive(Debug, Serialize, ToSchema)]
struct MetricView {
    #[schema(example = "gpuUtilization")]
    name: String,
    /// `percent`, `bytes`, `celsius` or `watts`.
    unit: &'static str,
    /// UUID of the GPU that it tells of.
    gpu: Option<String>,
    /// Seconds since 1970.
    t: Vec<f64>,
    v: Vec<f64>,
}

impl From<Drawn> for MetricView {
    fn from(drawn: Drawn) -> Self {
        let (t, v) = drawn.points.into_iter().unzip();
        let gpu = Some(drawn.name.gpu).filter(|gpu| !gpu.is_empty());
        Self { unit: unit(&drawn.name.name), name: drawn.name.name, gpu, t, v }
    }
}

fn unit(name: &str) -> &'static str {
    match name {
        "gpuTemp" => "celsius",
        "gpuPowerDraw" => "watts",
        "memoryUsage" | "memoryLimit" | "networkReceived" | "networkSent" | "blockRead" | "blockWritten"
        | "gpuMemoryUsed" | "gpuMemoryTotal" => "bytes",
        // What is left are cpuPercentage, where 100 is one core, gpuUtilization and
        // gpuMemoryUtilization.
        _ => "percent",
    }
}

/// Look at what a job used
///
/// Of its latest attempt: processors, memory, network, block devices, and each of its GPUs. Peaks
/// are kept when a series is drawn with fewer points than it has.
#[utoipa::path(
    get, path = "/jobs/{id}/metrics", tag = "jobs", params(("id" = String, Path, description = "Id of a job"), MetricsQuery),
    responses(
        (status = 200, description = "All series", body = Metrics),
        (status = 404, description = "There is no such job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<MetricsQuery>,
) -> Result<Json<Metrics>, Problem> {
    let seconds = (query.from.map_or(i64::MIN, |from| from.0), query.to.map_or(i64::MAX, |to| to.0));
    let drawn = services.metrics(&caller, &id, seconds, points(query.points)?).await?;
    Ok(Json(Metrics { series: drawn.into_iter().map(MetricView::from).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_rfc_3339() {
        for (text, expected) in [
            ("1769846400", Some(1_769_846_400)),
            ("1769846400.75", Some(1_769_846_400)),
            ("2026-01-31T08:00:00Z", Some(1_769_846_400)),
            ("2026-01-31T08:00:00.5+00:00", Some(1_769_846_400)),
            ("-5", Some(-5)),
            ("", None),
            ("now", None),
            ("1e9", None),
            ("99999999999999999999", None),
            ("2026-01-31", None),
        ] {
            assert_eq!(text.parse::<Second>().ok().map(|second| second.0), expected, "{text}");
        }
    }
}
