//! A point of a chart, as a program prints it: one line of JSON such as
//! `{"chart": "loss", "x": 10, "y": 0.25}`.

use serde::Deserialize;

/// Longest name of a chart, in characters.
pub const MAX_NAME: usize = 128;

/// One point of the chart `chart`.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub chart: String,
    /// Where along the chart; a point printed without one stands at its ordinal among the chart's points.
    pub x: Option<f64>,
    pub y: f64,
}

/// Reads a point from a line of output; `None` when the line is anything else.
///
/// `chart` and `y` must be there, other keys are let be. Numbers must be numbers: text that looks
/// like one is not taken, and neither is what a 64-bit float cannot hold.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Point> {
    #[derive(Deserialize)]
    struct Line {
        chart: String,
        #[serde(default)]
        x: Option<f64>,
        y: f64,
    }
    let line = line.trim_ascii();
    // Nearly every line is told apart by its two ends, without looking at the rest.
    if !(line.starts_with(b"{") && line.ends_with(b"}")) {
        return None;
    }
    let Line { chart, x, y } = serde_json::from_slice(line).ok()?;
    let named = !chart.trim().is_empty() && chart.chars().count() <= MAX_NAME && !chart.contains(char::is_control);
    (named && y.is_finite() && x.is_none_or(f64::is_finite)).then_some(Point { chart, x, y })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_a_point() {
        let loss = |x, y| Some(Point { chart: "loss".into(), x, y });
        assert_eq!(parse(br#"{"chart": "loss", "x": 10, "y": 0.25}"#), loss(Some(10.0), 0.25));
        assert_eq!(parse(b" {\"y\":-1e3,\"chart\":\"loss\",\"note\":[1,{}]}\r"), loss(None, -1000.0));
        assert_eq!(parse(br#"{"chart":"loss","x":null,"y":1}"#), loss(None, 1.0));
    }

    #[test]
    fn anything_else_is_only_a_line() {
        let long = format!(r#"{{"chart":"{}","y":1}}"#, "n".repeat(129));
        for line in [
            "loss 0.25",
            "{}",
            r#"{"chart":"loss"}"#,
            r#"{"chart":"loss","y":"1"}"#,
            r#"{"chart":"loss","x":"1","y":1}"#,
            r#"{"chart":"loss","y":NaN}"#,
            r#"{"chart":"loss","y":1e999}"#,
            r#"{"chart":" ","y":1}"#,
            r#"{"chart":1,"y":1}"#,
            r#"{"chart":"loss","y":1} {"chart":"loss","y":1}"#,
            r#"{"chart":"loss","y":1"#,
            &long,
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
