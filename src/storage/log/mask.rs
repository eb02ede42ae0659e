//! Keeps the values of secrets out of logs.
//!
//! Masked are the value, each line of a value that has several, and the forms in which programs
//! like to print one: escaped as JSON, percent-encoded, and base64 (standard and URL-safe, also
//! inside a longer encoded text). A value under [`MIN_VALUE`] bytes is not masked: hiding every `1`
//! would destroy the log and tell what the value is. [`Masker::unmasked`] names such secrets.
//!
//! Patterns hold no newline, so a match never crosses the end of a line. At the end of a piece
//! whose line goes on, what may be the beginning of a value is left for the next piece to decide.
//! Where matches overlap, the leftmost wins, and of those that begin together the longest.

use std::{borrow::Cow, collections::BTreeMap};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shortest value that is masked, in bytes.
pub const MIN_VALUE: usize = 4;

/// Shortest line of a many-line value, and shortest encoded form, that is masked, in bytes.
const MIN_PART: usize = 8;

/// Finds the values of secrets and puts `[secret:NAME]` in their place.
#[derive(Clone, Default)]
pub struct Masker {
    automaton: Option<AhoCorasick>,
    patterns: Vec<Vec<u8>>,
    /// What stands in a pattern's place, by the pattern's number.
    marks: Vec<String>,
    unmasked: Vec<String>,
}

/// What a piece of output becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes that are shown as they are.
    Shown(&'a [u8]),
    /// `raw` bytes in whose place `mark` is shown.
    Hidden { mark: &'a str, raw: usize },
}

impl Masker {
    /// Prepares to mask secrets given as (name, value). Where two have one value, the name that is
    /// first in the alphabet is shown.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let secrets: BTreeMap<&str, &str> = secrets.into_iter().collect();
        let mut found: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
        let mut unmasked = Vec::new();
        for (&name, &value) in &secrets {
            let forms = forms(value);
            if forms.is_empty() {
                unmasked.push(name.to_owned());
            }
            for form in forms {
                found.entry(form).or_insert(name);
            }
        }
        let (patterns, marks): (Vec<_>, Vec<_>) =
            found.into_iter().map(|(form, name)| (form, format!("[secret:{name}]"))).unzip();
        let automaton = (!patterns.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // A DFA would take megabytes for a long secret.
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(&patterns)
                .expect("secrets are far smaller than an automaton may be")
        });
        Self { automaton, patterns, marks, unmasked }
    }

    /// Returns the names of secrets whose values are too short to be masked.
    #[must_use]
    pub fn unmasked(&self) -> &[String] {
        &self.unmasked
    }

    /// Tells whether there is nothing to mask.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.automaton.is_none()
    }

    /// Masks a text that is there as a whole.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.automaton {
            Some(automaton) if automaton.is_match(text) => Cow::Owned(automaton.replace_all(text, &self.marks)),
            _ => Cow::Borrowed(text),
        }
    }

    /// Shows `part` what `bytes` becomes, and returns how many of them that was. The rest is to be
    /// given again with what follows it; when `ends` is said nothing follows, and there is no rest.
    pub fn scan<'a>(&'a self, bytes: &'a [u8], ends: bool, mut part: impl FnMut(Part<'a>)) -> usize {
        let Some(automaton) = &self.automaton else {
            let end = if ends { bytes.len() } else { whole_characters(bytes) };
            if end > 0 {
                part(Part::Shown(&bytes[..end]));
            }
            return end;
        };
        let mut done = 0;
        let mut open = if ends { bytes.len() } else { self.open_from(bytes, 0) };
        while let Some(found) = automaton.find(Input::new(bytes).range(done..)) {
            // What may still become a match from here or earlier would win over this one.
            if open <= found.start() {
                break;
            }
            if done < found.start() {
                part(Part::Shown(&bytes[done..found.start()]));
            }
            part(Part::Hidden { mark: &self.marks[found.pattern().as_usize()], raw: found.len() });
            done = found.end();
            if open < done {
                open = self.open_from(bytes, done);
            }
        }
        if done < open {
            part(Part::Shown(&bytes[done..open]));
        }
        open
    }

    /// Returns where, at or after `done`, the longest end of `bytes` begins that more bytes could
    /// turn into a match or a whole character.
    fn open_from(&self, bytes: &[u8], done: usize) -> usize {
        let rest = &bytes[done..];
        if rest.ends_with(b"\n") {
            return bytes.len();
        }
        let mut longest = rest.len() - whole_characters(rest);
        for pattern in &self.patterns {
            let most = (pattern.len() - 1).min(rest.len());
            let open = (longest + 1..=most).rev().find(|&n| rest.ends_with(&pattern[..n]));
            longest = open.unwrap_or(longest);
        }
        bytes.len() - longest
    }
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} patterns)", self.patterns.len())
    }
}

/// Returns where the character begins that `bytes` ends in the middle of, or their length.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (i, &byte) in tail.iter().enumerate().rev() {
        let needs = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => break,
        };
        let has = tail.len() - i;
        return if has < needs { bytes.len() - has } else { bytes.len() };
    }
    bytes.len()
}

/// Everything by which a value is known; empty when it is too short.
fn forms(value: &str) -> Vec<Vec<u8>> {
    if value.trim().len() < MIN_VALUE {
        return Vec::new();
    }
    let value_lines: Vec<&str> = value.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let least = if value_lines.len() == 1 { MIN_VALUE } else { MIN_PART };
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for line in value_lines.into_iter().filter(|line| line.len() >= least) {
        forms.push(line.into());
        let json = serde_json::Value::from(line).to_string();
        forms.push(json[1..json.len() - 1].into());
        forms.push(percent_encoded(line));
    }
    // A secret is often encoded with its final newline or after a user's name and a colon, which
    // shifts it by none, one or two bytes: the characters that it alone decides are the same.
    for shift in 0..3 {
        let shifted = [&vec![0; shift], value.trim().as_bytes()].concat();
        let decided = shifted.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            let form = &encoded[(shift * 8).div_ceil(6)..decided];
            if form.len() >= MIN_PART {
                forms.push(form.into());
            }
        }
    }
    forms
}

fn percent_encoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_of_a_value_is_masked() {
        let masker = Masker::new([("KEY", "p@ss \"w\\rd\"!"), ("PEM", "-----BEGIN KEY-----\nMIIEvQIBADANBg\nabc\n")]);
        for shown in [
            "p@ss \"w\\rd\"!",
            r#"p@ss \"w\\rd\"!"#,
            "p%40ss%20%22w%5Crd%22%21",
            "-----BEGIN KEY-----",
            "MIIEvQIBADANBg",
        ] {
            let masked = masker.mask(shown);
            assert!(masked.starts_with("[secret:") && masked.ends_with(']'), "{shown} became {masked}");
        }
        assert_eq!(masker.mask("abc"), "abc", "a short line of a value is let be");
    }

    #[test]
    fn a_value_is_masked_inside_what_is_base64() {
        let masker = Masker::new([("KEY", "correct-horse-battery")]);
        for user in ["", "u", "us", "user"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{user}:correct-horse-battery"));
            let masked = masker.mask(&encoded);
            assert!(masked.contains("[secret:KEY]") && masked.len() < 12 + 12, "{encoded} became {masked}");
        }
    }

    #[test]
    fn a_short_value_is_not_masked_and_said_to_be() {
        let masker = Masker::new([("PORT", "1"), ("BLANK", "     "), ("PIN", "1234")]);
        assert_eq!(masker.unmasked(), ["BLANK", "PORT"]);
        assert_eq!(masker.mask("epoch 1 of 1234"), "epoch 1 of [secret:PIN]");
    }

    #[test]
    fn the_longest_of_values_that_begin_alike_is_masked() {
        let masker = Masker::new([("SHORT", "token"), ("LONG", "token-2"), ("SAME", "token-2")]);
        assert_eq!(masker.mask("token-2 token-3"), "[secret:LONG] [secret:SHORT]-3");
    }

    #[test]
    fn only_what_may_become_a_value_is_held_back() {
        let masker = Masker::new([("KEY", "abcdef"), ("OTHER", "cdxxxx")]);
        let decided = |bytes: &[u8]| masker.scan(bytes, false, |_| {});
        assert_eq!(decided(b"say abcd"), 4);
        assert_eq!(decided(b"say abcd\n"), 9);
        assert_eq!(decided(b"say abcdef"), 10);
        assert_eq!(decided(b"say abcdx"), 6, "the second value may still come of cdx");
        assert_eq!(decided("say \u{2588}".as_bytes()), 7);
        assert_eq!(decided(b"say \xE2\x96"), 4);
        assert_eq!(decided(b"say \x96\x96\x96\x96"), 8, "bytes that are no text do not wait");
    }

    #[test]
    fn a_masker_does_not_show_its_secrets() {
        assert!(!format!("{:?}", Masker::new([("KEY", "hunter2")])).contains("hunter"));
    }
}
