//! Numbers that a run pushes: what their address says, and which points they are.
//!
//! The address of a push names a **group** by labels, `/metrics/job/NAME/LABEL/VALUE…`. Where Prometheus'
//! gateway keeps the latest numbers of each group, here the label `step` is where along a chart they
//! stand, and all steps are kept.

use super::exposition::{self, Malformed};

/// Longest name of a series, labels and all, in bytes.
pub const MAX_NAME: usize = 512;
/// Steps from which a 64-bit float still tells neighbours apart.
const MAX_STEP: i64 = 1 << 53;

/// What the address of a push says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Without `job`, which every push has; no name comes twice.
    labels: Vec<(String, String)>,
    step: Option<i64>,
}

/// One number of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The metric's name, followed by the labels that tell it from others: `loss{phase="train"}`.
    pub series: String,
    /// Finite.
    pub value: f64,
}

/// A push that cannot be taken as it is. Its text is what stands in the user's terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPush {
    #[error("“{0}” cannot be the name of a label: letters, digits and “_”, and no digit first")]
    Label(String),
    #[error("the label “{0}” comes twice in the address")]
    Twice(String),
    #[error("the address has more than {} labels", exposition::MAX_LABELS)]
    Labels,
    #[error("“{0}” cannot be a step: use a whole number, or leave it out")]
    Step(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the metric {0}… is longer than {MAX_NAME} bytes with its labels: shorten it")]
    Name(String),
}

impl Group {
    /// Reads the labels of an address, those after `job`.
    ///
    /// # Errors
    /// [`BadPush`] for labels that cannot be, and for a step that is no whole number. `None` is what
    /// Python makes of no step at all.
    pub fn new(labels: Vec<(String, String)>) -> Result<Self, BadPush> {
        if labels.len() > exposition::MAX_LABELS {
            return Err(BadPush::Labels);
        }
        for (at, (name, _)) in labels.iter().enumerate() {
            if !exposition::is_label_name(name) {
                return Err(BadPush::Label(shown(name)));
            }
            if labels[..at].iter().any(|(known, _)| known == name) {
                return Err(BadPush::Twice(shown(name)));
            }
        }
        let step = match labels.iter().find(|(name, _)| name == "step").map(|(_, value)| value.as_str()) {
            None | Some("None" | "") => None,
            Some(text) => Some(step(text).ok_or_else(|| BadPush::Step(shown(text)))?),
        };
        Ok(Self { labels, step })
    }

    /// Returns where along their charts the points stand; the next place when `None`.
    #[must_use]
    pub fn step(&self) -> Option<i64> {
        self.step
    }

    /// Says whether the series named `series` is one of this group, as the run named `run` pushes it.
    #[must_use]
    pub fn has(&self, run: &str, series: &str) -> bool {
        // The name of a series is written as a sample is.
        let text = format!("{series} 0");
        let Some(sample) = exposition::parse(&text).ok().and_then(|samples| samples.into_iter().next()) else {
            return false;
        };
        self.labels.iter().filter(|(name, value)| !tells_run(run, name, value)).all(|(name, value)| {
            let labelled = sample.labels.iter().any(|(known, is)| known == name && is == value);
            labelled || (name == "name" && is_of(sample.name, value))
        })
    }

    /// Returns the points of a text that the run named `run` pushes. Of a series that comes more than once
    /// the last holds. What no chart can show is left out: NaN, infinities, and the times at which
    /// counters were made.
    ///
    /// # Errors
    /// [`BadPush::Malformed`] and [`BadPush::Name`].
    pub fn points(&self, run: &str, text: &str) -> Result<Vec<Pushed>, BadPush> {
        let samples = exposition::parse(text)?;
        let names: std::collections::HashSet<_> = samples.iter().map(|sample| sample.name).collect();
        let is_birth = |name: &str| {
            let of = name.strip_suffix("_created");
            of.is_some_and(|of| ["_total", "_count"].iter().any(|end| names.contains(&*format!("{of}{end}"))))
        };
        let mut points = std::collections::BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.value.is_finite() && !is_birth(sample.name)) {
            points.insert(self.series(run, sample)?, sample.value);
        }
        Ok(points.into_iter().map(|(series, value)| Pushed { series, value }).collect())
    }

    /// Names the series of a sample: by its metric, and by those labels of it and of the address that
    /// tell more than which run and which step.
    fn series(&self, run: &str, sample: &exposition::Sample<'_>) -> Result<String, BadPush> {
        // As at Prometheus' gateway, the address holds where both name a label.
        let own = sample.labels.iter().map(|(name, value)| (*name, &**value));
        let own = own.filter(|(name, _)| !self.labels.iter().any(|(known, _)| known == name));
        let grouping = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // gradient-utils repeats the metric's name in the address.
        let grouping = grouping.filter(|(name, value)| !(*name == "name" && is_of(sample.name, value)));
        let mut labels: Vec<_> = own.chain(grouping).filter(|(name, value)| !tells_run(run, name, value)).collect();
        labels.sort_unstable();
        let mut series = sample.name.to_owned();
        for (at, (name, value)) in labels.iter().enumerate() {
            series.push_str(if at == 0 { "{" } else { "," });
            series.push_str(name);
            series.push_str("=\"");
            series.push_str(&exposition::escaped(value));
            series.push('"');
        }
        if !labels.is_empty() {
            series.push('}');
        }
        if series.len() > MAX_NAME { Err(BadPush::Name(shown(&series))) } else { Ok(series) }
    }
}

/// Says whether a label tells nothing but which run and which step it is. `label_metrics_job_handle` and
/// the like are how the cloud told whose a metric is.
fn tells_run(run: &str, name: &str, value: &str) -> bool {
    let handle = name.starts_with("label_metrics_") && name.ends_with("_handle");
    value.is_empty() || matches!(name, "job" | "step") || (value == run && (name == "pod" || handle))
}

/// Says whether `metric` is the metric `of` or a part of it, such as a bucket.
fn is_of(metric: &str, of: &str) -> bool {
    let part = metric.strip_prefix(of);
    part.is_some_and(|part| matches!(part, "" | "_total" | "_sum" | "_count" | "_bucket" | "_created" | "_info"))
}

fn step(text: &str) -> Option<i64> {
    let whole = text.parse().ok().or_else(|| {
        // A program that counts in floats means the same.
        let float: f64 = text.parse().ok().filter(|float: &f64| float.fract() == 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast to an integer stops at its ends, which are refused"
        )]
        Some(float as i64)
    })?;
    (-MAX_STEP..=MAX_STEP).contains(&whole).then_some(whole)
}

/// Returns the beginning of a text of somebody else's, fit to be shown.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(labels: &[(&str, &str)]) -> Result<Group, BadPush> {
        Group::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn points(labels: &[(&str, &str)], text: &str) -> Vec<(String, f64)> {
        let points = group(labels).unwrap().points("js1", text).unwrap();
        points.into_iter().map(|point| (point.series, point.value)).collect()
    }

    #[test]
    fn what_gradient_utils_pushes_is_named_by_its_metric_alone() {
        let labels = [("label_metrics_job_handle", "js1"), ("name", "loss"), ("step", "3")];
        let text = "# TYPE loss gauge\nloss{label_metrics_job_handle=\"js1\",pod=\"js1\",step=\"3\"} 0.5\n";
        assert_eq!(points(&labels, text), [("loss".to_owned(), 0.5)]);
        assert_eq!(group(&labels).unwrap().step(), Some(3));
        assert_eq!(group(&[("step", "None")]).unwrap().step(), None);
        // A logger whose step went on: its samples still say the step at which it was made.
        assert_eq!(points(&[("step", "7")], "x{step=\"None\",pod=\"js1\"} 1"), [("x".to_owned(), 1.0)]);
    }

    #[test]
    fn labels_that_tell_more_tell_series_apart() {
        let text = "loss{phase=\"b\\\"\",pod=\"other\"} 1\nloss 2\nh_bucket{le=\"0.5\"} 3\n";
        let named = [
            ("h_bucket{le=\"0.5\",rank=\"1\"}", 3.0),
            ("loss{phase=\"b\\\"\",pod=\"other\",rank=\"1\"}", 1.0),
            ("loss{rank=\"1\"}", 2.0),
        ];
        assert_eq!(points(&[("rank", "1")], text), named.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn what_no_chart_can_show_is_left_out_and_the_last_of_equals_holds() {
        let text = "a NaN\nb +Inf\nc_total 1\nc_created 1.7e9\nh_count 1\nh_created 1.7e9\nmodel_created 4\nd 1\nd 2\n";
        let left: Vec<_> = points(&[], text).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(left, ["c_total 1", "d 2", "h_count 1", "model_created 4"]);
    }

    #[test]
    fn a_series_is_told_to_be_of_a_group() {
        let one =
            group(&[("label_metrics_job_handle", "js1"), ("name", "loss"), ("rank", "1"), ("step", "3")]).unwrap();
        for (series, is_in) in [
            ("loss{rank=\"1\"}", true),
            ("loss_sum{rank=\"1\"}", true),
            ("loss_val{rank=\"1\"}", false),
            ("loss{a=\"x,rank=\\\"1\\\"\"}", false),
            ("loss", false),
        ] {
            assert_eq!(one.has("js1", series), is_in, "{series}");
        }
        assert!(
            group(&[("step", "3")]).unwrap().has("js1", "h_bucket{le=\"0.5\"}"),
            "without labels it is all of them"
        );
    }

    #[test]
    fn a_step_is_a_whole_number() {
        for (text, meant) in [("0", 0), ("-5", -5), ("3.0", 3), ("1e3", 1000), ("9007199254740992", MAX_STEP)] {
            assert_eq!(group(&[("step", text)]).unwrap().step(), Some(meant), "{text}");
        }
        for text in ["1.5", "epoch", "NaN", "inf", "9007199254740993", "1e300", " 1"] {
            assert!(matches!(group(&[("step", text)]), Err(BadPush::Step(_))), "{text}");
        }
    }

    #[test]
    fn addresses_and_names_that_cannot_be_are_refused() {
        assert_eq!(group(&[("a-b", "1")]), Err(BadPush::Label("a-b".into())));
        assert_eq!(group(&[("a", "1"), ("a", "2")]), Err(BadPush::Twice("a".into())));
        let many: Vec<_> = (0..33).map(|at| (format!("l{at}"), String::new())).collect();
        assert_eq!(Group::new(many), Err(BadPush::Labels));
        let long = format!("x{{a=\"{}\"}} 1", "y".repeat(MAX_NAME));
        assert!(matches!(group(&[]).unwrap().points("js1", &long), Err(BadPush::Name(_))));
    }
}
