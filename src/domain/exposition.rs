//! Samples in Prometheus' text format 0.0.4, as its clients push them:
//! `loss{phase="train"} 0.25 1700000000000`.
//!
//! Whoever runs code writes such a text, so it is read with bounds on everything. Comments are let be,
//! types among them: a chart shows a counter as it shows a gauge. The crates that read this format are
//! of 2022 and 2023, know no bounds, and one of them leaves out lines that it does not understand.

use std::borrow::Cow;

/// Most samples of one text.
pub const MAX_SAMPLES: usize = 10_000;
/// Most labels of one sample.
pub const MAX_LABELS: usize = 32;

/// One number of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    /// In their order in the text; no name comes twice.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be NaN or infinite.
    pub value: f64,
}

/// A text that is not in the format, with the line at which it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no sample of Prometheus' text format: {why}")]
pub struct Malformed {
    /// From 1.
    pub line: usize,
    why: &'static str,
}

/// Reads all samples of `text`.
///
/// # Errors
/// [`Malformed`] at the first line that is no sample, and at the first sample over the bounds.
pub fn parse(text: &str) -> Result<Vec<Sample<'_>>, Malformed> {
    let mut samples = Vec::new();
    for (line, content) in (1..).zip(text.split('\n')) {
        let content = content.trim_matches(is_blank);
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let sample = if samples.len() < MAX_SAMPLES { sample(content) } else { Err("one push has at most 10000") };
        samples.push(sample.map_err(|why| Malformed { line, why })?);
    }
    Ok(samples)
}

/// Says whether `text` can be the name of a label.
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    word(text, false) == text.len() && !text.is_empty()
}

/// Writes a label's value as it stands between quotes.
#[must_use]
pub fn escaped(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n").into()
    } else {
        value.into()
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// Returns how many bytes at the beginning of `text` are a name; colons are for metrics alone.
fn word(text: &str, colons: bool) -> usize {
    let fits = |at: usize, byte: u8| {
        byte.is_ascii_alphabetic() || byte == b'_' || (colons && byte == b':') || (at > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(|&(at, byte)| fits(at, byte)).count()
}

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let (name, rest) = line.split_at(word(line, true));
    if name.is_empty() {
        return Err("it must begin with a name of letters, digits, “_” and “:”");
    }
    let rest = rest.trim_start_matches(is_blank);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    let mut numbers = rest.split(is_blank).filter(|text| !text.is_empty());
    let value =
        numbers.next().and_then(|text| text.parse().ok()).ok_or("a number must follow the name and its labels")?;
    // The time is of no use: what is drawn along is the step.
    if numbers.next().is_some_and(|time| time.parse::<i64>().is_err()) || numbers.next().is_some() {
        return Err("only a time in milliseconds may follow the number");
    }
    Ok(Sample { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Reads labels up to the closing brace; returns them and what follows it.
fn labels(mut rest: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels: Labels<'_> = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_blank);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_at(word(rest, false));
        let value =
            after.trim_start_matches(is_blank).strip_prefix('=').map(|after| after.trim_start_matches(is_blank));
        let (Some(value), false) = (value.and_then(|after| after.strip_prefix('"')), name.is_empty()) else {
            return Err("a label is written name=\"value\"");
        };
        let (value, after) = quoted(value)?;
        if labels.len() == MAX_LABELS {
            return Err("a sample has at most 32 labels");
        }
        if labels.iter().any(|(known, _)| *known == name) {
            return Err("a label comes twice");
        }
        labels.push((name, value));
        let after = after.trim_start_matches(is_blank);
        rest = match after.strip_prefix(',') {
            Some(further) => further,
            None if after.starts_with('}') => after,
            None => return Err("“,” or “}” must follow a label"),
        };
    }
}

/// Reads up to the closing quote; returns what stands before it, escapes undone, and what follows.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut undone: Option<String> = None;
    let mut plain = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['"', '\\']) {
        at += found;
        if text.as_bytes()[at] == b'"' {
            let value = match undone {
                None => Cow::Borrowed(&text[..at]),
                Some(undone) => Cow::Owned(undone + &text[plain..at]),
            };
            return Ok((value, &text[at + 1..]));
        }
        let meant = match text.as_bytes().get(at + 1) {
            Some(b'\\') => '\\',
            Some(b'"') => '"',
            Some(b'n') => '\n',
            _ => return Err("“\\” in a label's value must be followed by “\\”, “\"” or “n”"),
        };
        let undone = undone.get_or_insert_default();
        undone.push_str(&text[plain..at]);
        undone.push(meant);
        at += 2;
        plain = at;
    }
    Err("a label's value must end with a quote")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Sample<'_> {
        let mut samples = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(samples.len(), 1, "{line}");
        samples.remove(0)
    }

    #[test]
    fn what_clients_write_is_read() {
        let text = "# HELP loss \n# TYPE loss gauge\nloss{label_metrics_job_handle=\"js1\",pod=\"js1\",step=\"3\"} 0.5\n\
                    c_total 1.0\nh_bucket{le=\"+Inf\"} 1e+06\n\nat:rate5m  { a = \"x\" , }  -3 1700000000000\r\n";
        let samples = parse(text).unwrap();
        let names: Vec<_> = samples.iter().map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(names, [("loss", 0.5), ("c_total", 1.0), ("h_bucket", 1e6), ("at:rate5m", -3.0)]);
        assert_eq!(samples[0].labels[2], ("step", "3".into()));
        assert_eq!(samples[3].labels, [("a", "x".into())]);
        assert!(one("x NaN").value.is_nan() && one("x +Inf").value.is_infinite());
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(one(r#"x{a="q\"uo\\te\n}"} 1"#).labels[0].1, "q\"uo\\te\n}");
        assert_eq!(escaped("q\"uo\\te\n"), r#"q\"uo\\te\n"#);
    }

    #[test]
    fn what_is_no_sample_is_refused_at_its_line() {
        for line in [
            "loss",
            "loss x",
            "1x 3",
            "x 1 y",
            "x 1 2 3",
            "x{ 1",
            "x{a} 1",
            "x{a=1} 1",
            "x{a=\"1} 1",
            "x{a=\"1\"b=\"2\"} 1",
            "x{a=\"\\t\"} 1",
            "x{a=\"1\",a=\"2\"} 1",
            "x{1a=\"1\"} 1",
            "x{=\"1\"} 1",
            "x{a=\"1\"",
            "{} 1",
            "ü 1",
            "x{a=\"\\",
            "x 0x1",
        ] {
            let error = parse(&format!("ok 1\n{line}\nok 2")).expect_err(line);
            assert_eq!(error.line, 2, "{line}");
        }
    }

    #[test]
    fn there_is_a_bound_on_everything() {
        assert_eq!(parse(&"x 1\n".repeat(MAX_SAMPLES)).unwrap().len(), MAX_SAMPLES);
        assert_eq!(parse(&"x 1\n".repeat(MAX_SAMPLES + 1)).unwrap_err().line, MAX_SAMPLES + 1);
        let labels = |n: usize| (0..n).map(|at| format!("l{at}=\"\"")).collect::<Vec<_>>().join(",");
        assert!(parse(&format!("x{{{}}} 1", labels(MAX_LABELS))).is_ok());
        assert!(parse(&format!("x{{{}}} 1", labels(MAX_LABELS + 1))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[a-z{}=\",\\\\\n #1.e-]*") {
            let _ = parse(&text);
        }

        #[test]
        fn any_label_comes_back_as_it_was(value in "\\PC*|[\"\\\\n\n]*", number in any::<f64>()) {
            let value = value.replace('\r', "");
            let text = format!("x{{a=\"{}\"}} {number}", escaped(&value));
            let read = one(&text);
            prop_assert_eq!(&read.labels[0].1, &value);
            prop_assert!(read.value == number || number.is_nan());
        }
    }
}
