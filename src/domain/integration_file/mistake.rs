//! What is wrong with the file, in words that say where and what is expected, and that show nothing of it but
//! names: a piece of it may be a key that somebody wrote out.

use std::fmt;

use super::{KNOWN, lines};
use crate::domain::{dataset::check_mount_name, integration::InvalidIntegration};

/// A mistake of its YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Line and column, counted from 1.
    place: Option<(u64, u64)>,
    entry: Option<String>,
    field: Option<String>,
    words: &'static str,
}

impl Mistake {
    pub(super) fn of(text: &str, error: &serde_saphyr::Error) -> Self {
        let place = error.location().map(|place| (place.line(), place.column()));
        let line = place.and_then(|(line, _)| usize::try_from(line).ok());
        let (entry, field) = line.map(|line| lines::names_at(text, line)).unwrap_or_default();
        Self {
            place,
            // What is no name of either kind may be anything.
            entry: entry.filter(|name| check_mount_name(name).is_ok()),
            field: field.filter(|name| KNOWN.contains(&name.as_str())),
            words: in_words(error),
        }
    }

    /// Says it where the entry is named anyway.
    pub(super) fn within_entry(self) -> String {
        Self { entry: None, ..self }.to_string()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}")?;
            if let Some(entry) = &self.entry {
                write!(f, ", at “{entry}”")?;
            }
            if let Some(field) = &self.field {
                write!(f, ", {field}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(self.words)
    }
}

/// Says what is wrong with a field of an entry, with its line where that is certain.
pub(super) fn of_field(text: &str, name: &str, wrong: &InvalidIntegration) -> String {
    let InvalidIntegration { field, words } = wrong;
    match lines::line_of(text, Some(name), Some(field)) {
        None => words.clone(),
        // Most words begin with the field.
        Some(line) if words.starts_with(field) || !KNOWN.contains(field) => format!("line {line}: {words}"),
        Some(line) => format!("line {line}, {field}: {words}"),
    }
}

/// Says what is expected. The reader's own words tell only which of ours fit: they may repeat what is there.
fn in_words(error: &serde_saphyr::Error) -> &'static str {
    use serde_saphyr::Error as E;
    match error.without_snippet() {
        E::DuplicateMappingKey { .. } => "a name is there twice: keep one of the two",
        E::Budget { .. } | E::AliasReplayLimitExceeded { .. } | E::AliasReplayStackDepthExceeded { .. } => {
            "there is too much in it, too deep in each other, repeated too often, or a second document (---)"
        }
        E::AliasError { .. } | E::UnknownAnchor { .. } => {
            "what is repeated here (*name) has to be marked before (&name), and is not, or is too much: write it out, or put the text in quotes"
        }
        E::MultipleDocuments { .. } => "there is a second document (---): one is expected",
        E::MergeValueNotMapOrSeqOfMaps { .. } => "what is taken in here (<<) has to be fields, or a list of such",
        error => {
            let said = error.to_string();
            let known = SAID.iter().find(|(piece, _)| said.contains(piece));
            known.map_or("this cannot be read as YAML of the form that is expected here", |(_, words)| words)
        }
    }
}

/// Pieces of what the reader says, and what they mean to whoever wrote the file.
const SAID: [(&str, &str); 14] = [
    ("unclosed bracket", "this bracket is opened and never closed"),
    ("misplaced bracket", "a bracket is closed here that was never opened: remove it, or put the text in quotes"),
    (
        "quoted scalar, found unknown escape",
        "a \\ between double quotes is written \\\\; between single quotes as it is",
    ),
    ("quoted scalar", "a quote that was opened before is not closed: the closing quote is expected"),
    (
        "did not find expected '-'",
        "this belongs to a list, whose lines begin with “- ”: indent it as its neighbours are",
    ),
    (
        "did not find expected key",
        "the line is indented otherwise than those beside it: “name: value” is expected below them",
    ),
    ("tabs disallowed", "there is a tab: spaces are expected before a name"),
    ("simple key expected", "“name: value” is expected, with a colon and a space"),
    (
        "mapping values are not allowed",
        "there is a colon where none is expected: one is missing in the line before, or the text needs quotes",
    ),
    ("unexpected character", "a text cannot begin with this character: put it in quotes"),
    (
        "unknown anchor",
        "what is repeated here (*name) has to be marked before (&name), and is not, or is too much: write it out, or put the text in quotes",
    ),
    ("expected string scalar", "one text is expected here, and no list or fields"),
    ("expected mapping start", "fields are expected here, each as “name: value” in a line of its own"),
    ("multiple YAML documents", "there is a second document (---): one is expected"),
];
