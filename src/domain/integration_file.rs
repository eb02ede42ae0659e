//! `.gradient/settings.yaml`: how what a notebook has beneath `/datasets` is written down.
//!
//! ```yaml
//! integrations:
//!   speech:
//!     type: dataset
//!     id: dst364npcw6ccok
//!     version: fo5rp4m
//!   lab-bucket:
//!     type: s3
//!     url: s3://lab/raw
//!     accessKeyId: LABKEY
//!     secretAccessKey: secret:LAB_S3
//!     endpoint: https://minio.lab.example
//! ```
//!
//! People write it, and so do programs in containers, so it is read with bounds on everything. One entry
//! that is wrong spoils no other. It is changed by its lines: whatever else is in it, comments too, stays as
//! it is, and where that cannot be told for certain it is not changed at all.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{
    integration::{DataProblem, Integration, MOST},
    user_path::shown,
};

/// Where it is among a notebook's files.
pub const PATH: &str = ".gradient/settings.yaml";
/// The largest one that is read.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep its values may lie in each other.
const MAX_DEPTH: usize = 32;
/// Repetitions (`*name`) that are followed, and values that they may come to, all together.
const MAX_ALIASES: usize = 64;
const MAX_REPEATED: usize = 4096;

const TOP: &str = "integrations";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrationFile {
    /// By name.
    pub integrations: Vec<Integration>,
    pub problems: Vec<DataProblem>,
}

/// What is to be different in the file.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Adds one, or replaces the one with its name.
    Put(&'a Integration),
    Remove(&'a str),
}

/// Why the file is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{PATH} cannot be read, so it is not changed: correct it first ({0})")]
    Unreadable(String),
    #[error(
        "{PATH} is written in a way that cannot be changed here without the risk of losing something: edit the file itself"
    )]
    Unclear,
    #[error("{PATH} would become larger than {} KiB: remove something from it", MAX_BYTES / 1024)]
    TooLarge,
    #[error("a notebook has {MOST} integrations at most: remove one first")]
    TooMany,
}

impl IntegrationFile {
    /// Reads the file. Whatever is in it, there is an answer: what could be read, and what is wrong.
    pub fn read(bytes: &[u8]) -> Self {
        let text = match checked_text(bytes) {
            Ok(text) => text,
            Err(message) => return Self::unreadable(message),
        };
        let names = match names(text) {
            Ok(names) => names,
            Err(message) => return Self::unreadable(message),
        };
        let mut file = Self::default();
        for (at, name) in names.iter().enumerate() {
            let problem = |message| DataProblem { name: Some(shown(name.as_bytes())), message };
            if at >= MOST {
                file.problems
                    .push(problem(format!("there are more than {MOST}: this one and all after it are left out")));
                break;
            }
            match entry(text, name) {
                Ok(integration) => file.integrations.push(integration),
                Err(message) => file.problems.push(problem(message)),
            }
        }
        file
    }

    fn unreadable(message: String) -> Self {
        Self { integrations: Vec::new(), problems: vec![DataProblem { name: None, message }] }
    }
}

/// Returns the file with one change made to it.
///
/// # Errors
/// [`EditError`]; the file is then to stay as it is.
pub fn edited(bytes: &[u8], change: Change<'_>) -> Result<String, EditError> {
    let text = checked_text(bytes).map_err(EditError::Unreadable)?;
    let before = contents(text).map_err(EditError::Unreadable)?;
    let (name, fields) = match change {
        Change::Put(integration) => (integration.name(), Some(integration.fields())),
        Change::Remove(name) => (name, None),
    };
    let mut wanted = before.clone();
    match fields.clone() {
        Some(fields) => {
            let mut entry = match wanted.entries.remove(name) {
                Some(Value::Map(entry)) => entry,
                _ => BTreeMap::new(),
            };
            entry.retain(|field, _| !KNOWN.contains(&field.as_str()));
            entry.extend(fields.into_iter().map(|(field, text)| (field.to_owned(), Value::Text(text))));
            wanted.entries.insert(name.to_owned(), Value::Map(entry));
        }
        None => {
            if wanted.entries.remove(name).is_none() {
                return Ok(text.to_owned());
            }
        }
    }
    if wanted.entries.len() > MOST.max(before.entries.len()) {
        return Err(EditError::TooMany);
    }
    let changed = with_lines(text, name, fields.as_deref()).ok_or(EditError::Unclear)?;
    if changed.len() > MAX_BYTES {
        return Err(EditError::TooLarge);
    }
    // Lines are not YAML: what comes out has to say what was meant, and all else as before.
    match contents(&changed) {
        Ok(after) if after == wanted => Ok(changed),
        _ => Err(EditError::Unclear),
    }
}

fn checked_text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    std::str::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

/// Reads the document with `seed`; an error says where it is, and never what is there.
fn parse<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_merge_keys: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPEATED,
            max_replay_stack_depth: 4,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        // `n` and `12e4567` may be names and versions.
        strict_booleans: true,
        reject_non_finite_typeless_float: false,
        // A piece of the file may be a key that somebody wrote out.
        with_snippet: false,
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| seed.deserialize(document)).map_err(
        |error| match error.location() {
            Some(place) => format!("line {}, column {}: {}", place.line(), place.column(), in_words(&error)),
            None => in_words(&error).to_owned(),
        },
    )
}

/// Says what is wrong, without the words of the file.
fn in_words(error: &serde_saphyr::Error) -> &'static str {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { .. } => "a name is there twice",
        serde_saphyr::Error::AliasError { .. } => "what is repeated here (*name) cannot be read, or is too much",
        serde_saphyr::Error::Budget { .. }
        | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => {
            "there is too much in it, too deep in each other, or repeated too often"
        }
        _ => "this cannot be read as YAML of the form that is expected here",
    }
}

/// A document, for comparing two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Nothing,
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::List(value.iter().map(|byte| Value::Text(byte.to_string())).collect()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            map.insert(name, value);
        }
        Ok(Value::Map(map))
    }
}

/// Everything in the file, with the integrations apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    entries: BTreeMap<String, Value>,
    others: BTreeMap<String, Value>,
}

fn contents(text: &str) -> Result<Contents, String> {
    let is_empty = text.lines().all(|line| !is_content(line));
    let document = if is_empty { Value::Nothing } else { parse(text, std::marker::PhantomData::<Value>)? };
    let mut others = match document {
        Value::Nothing => BTreeMap::new(),
        Value::Map(map) => map,
        Value::Text(_) | Value::List(_) => return Err(format!("it has to say “{TOP}:”, and beneath it what there is")),
    };
    let entries = match others.remove(TOP) {
        None | Some(Value::Nothing) => BTreeMap::new(),
        Some(Value::Map(map)) => map,
        Some(_) => {
            return Err(format!("beneath “{TOP}:” there has to be a name with a colon for each, and its fields"));
        }
    };
    Ok(Contents { entries, others })
}

/// Returns the names of the entries.
fn names(text: &str) -> Result<Vec<String>, String> {
    Ok(contents(text)?.entries.into_keys().collect())
}

/// Reads one entry. Its fields are taken as texts, as they stand: `0012345` and `12e4567` are versions, not
/// numbers.
fn entry(text: &str, name: &str) -> Result<Integration, String> {
    let fields = parse(text, Within(TOP, Within(name, Fields)))?;
    let Some(fields) = fields.flatten() else { return Err("there is nothing beneath it".to_owned()) };
    Integration::of_fields(name, &fields).map_err(|error| error.words)
}

/// Looks for one name in a mapping and passes over all else.
struct Within<'a, S>(&'a str, S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<'_, S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Within<'_, S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with a colon")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut seed, mut found) = (Some(self.1), None);
        while let Some(name) = entries.next_key::<String>()? {
            match seed.take_if(|_| self.0 == name) {
                Some(seed) => found = Some(entries.next_value_seed(seed)?),
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Reads the fields of an entry.
struct Fields;

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = BTreeMap<String, Option<String>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Deserialize::deserialize(from)
    }
}

/// Fields that an entry of ours has; it keeps any other when it is replaced.
const KNOWN: [&str; 10] =
    ["type", "id", "ref", "version", "url", "accessKeyId", "secretAccessKey", "region", "endpoint", "readOnly"];

/// Puts an entry into the lines of the file, or takes it out. `None` where the lines are not of the usual
/// form; what comes out has to be compared with what was meant.
fn with_lines(text: &str, name: &str, fields: Option<&[(&'static str, String)]>) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(head) = lines.iter().position(|line| key_of(line).as_deref() == Some(TOP) && indent_of(line) == 0) else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{gap}{TOP}:\n{}", block(name, fields?, 2, &[])));
    };
    let said = lines[head].split_once(':')?.1.split(" #").next()?.trim();
    if !matches!(said, "" | "{}" | "null" | "~") {
        return None;
    }
    let end = (head + 1..lines.len()).find(|at| is_content(lines[*at]) && indent_of(lines[*at]) == 0);
    let end = end.unwrap_or(lines.len());
    let contents: Vec<usize> = (head + 1..end).filter(|at| is_content(lines[*at])).collect();
    let indent = contents.first().map_or(2, |first| indent_of(lines[*first]));
    let place =
        contents.iter().find(|at| indent_of(lines[**at]) == indent && key_of(lines[**at]).as_deref() == Some(name));
    let (from, to, kept) = match place {
        Some(start) => {
            let next = contents.iter().find(|at| *at > start && indent_of(lines[**at]) <= indent);
            // Comments above the next one are its own.
            let mut after = next.copied().unwrap_or(end);
            while after > start + 1 && !is_content(lines[after - 1]) && indent_of(lines[after - 1]) <= indent {
                after -= 1;
            }
            (*start, after, unknown(&lines[start + 1..after]))
        }
        None => {
            let after = contents.last().map_or(head + 1, |last| last + 1);
            (after, after, Vec::new())
        }
    };
    let mut out = String::with_capacity(text.len() + 256);
    for (at, line) in lines[..from].iter().enumerate() {
        match at == head && !said.is_empty() && fields.is_some() {
            true => out.push_str("integrations:\n"),
            false => out.push_str(line),
        }
    }
    if let Some(fields) = fields {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&block(name, fields, indent, &kept));
    }
    lines[to..].iter().for_each(|line| out.push_str(line));
    Some(out)
}

/// Returns the lines of an entry that hold fields which nobody here knows, and its comments.
fn unknown<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let inner = lines.iter().find(|line| is_content(line)).map_or(0, |line| indent_of(line));
    let mut keeps = true;
    let mut kept = Vec::new();
    for line in lines {
        if is_content(line) && indent_of(line) == inner {
            keeps = key_of(line).is_none_or(|key| !KNOWN.contains(&key.as_str()));
        }
        if keeps || !is_content(line) {
            kept.push(*line);
        }
    }
    kept
}

fn block(name: &str, fields: &[(&'static str, String)], indent: usize, kept: &[&str]) -> String {
    let inner = kept.iter().find(|line| is_content(line)).map_or(indent + 2, |line| indent_of(line));
    let mut out = format!("{:indent$}{}:\n", "", scalar(name));
    for (field, text) in fields {
        out.push_str(&format!("{:inner$}{field}: {}\n", "", scalar(text)));
    }
    for line in kept {
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// Writes a text so that every reader of YAML takes it for this text.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c))
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    // What is quoted in JSON is quoted in YAML.
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Returns the name in front of the colon of a line.
fn key_of(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix('"') {
        let (key, rest) = rest.split_once('"')?;
        return rest.starts_with(':').then(|| serde_json::from_str(&format!("\"{key}\"")).ok())?;
    }
    if let Some(rest) = line.strip_prefix('\'') {
        let (key, rest) = rest.split_once('\'')?;
        return rest.starts_with(':').then(|| key.to_owned());
    }
    let at = line.find(": ").or_else(|| line.ends_with(':').then(|| line.len() - 1))?;
    Some(line[..at].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::{S3Draft, Source};

    const FILE: &str = "\
# What this notebook works with.
integrations:
  speech:
    type: dataset
    id: dst364npcw6ccok
    version: fo5rp4m   # as in the paper
  # Raw recordings.
  lab-bucket:
    type: s3
    url: s3://lab/raw
    accessKeyId: LABKEY
    secretAccessKey: secret:LAB_S3
    endpoint: https://minio.lab.example
editor:
  theme: dark
";

    fn dataset(name: &str, id: &str, version: &str) -> Integration {
        Integration::dataset(name, id, Some(version)).unwrap()
    }

    fn names_of(file: &IntegrationFile) -> Vec<&str> {
        file.integrations.iter().map(Integration::name).collect()
    }

    fn problem(text: &str) -> String {
        let file = IntegrationFile::read(text.as_bytes());
        assert!(file.integrations.is_empty(), "{file:?}");
        file.problems[0].message.clone()
    }

    #[test]
    fn the_file_of_the_cloud_is_read_as_it_is() {
        let file = IntegrationFile::read(FILE.as_bytes());
        assert_eq!(file.problems, []);
        assert_eq!(names_of(&file), ["lab-bucket", "speech"]);
        assert!(matches!(file.integrations[0].source, Source::S3(_)));
        assert_eq!(file.integrations[1], dataset("speech", "dst364npcw6ccok", "fo5rp4m"));
    }

    #[test]
    fn nothing_in_it_is_nothing() {
        for empty in
            ["", "\n", "# later\n", "integrations:\n", "integrations: {}\n", "---\nintegrations: ~\n", "other: 1\n"]
        {
            assert_eq!(IntegrationFile::read(empty.as_bytes()), IntegrationFile::default(), "{empty:?}");
        }
    }

    #[test]
    fn one_entry_that_is_wrong_spoils_no_other() {
        let text = "integrations:
  good: {type: dataset, id: mnist}
  bare:
  list: [1, 2]
  word: yes
  deep: {type: dataset, id: {a: b}}
  kind: {type: ftp}
  ../up: {type: dataset, id: mnist}
  both: {type: s3, url: s3://lab, accessKeyId: A, secretAccessKey: secret:K, region: a, endpoint: https://h}
  open: {type: s3, url: s3://lab, accessKeyId: A, secretAccessKey: wJalrXUtnFEMI, region: a}
  1: {type: dataset, id: mnist, version: 12e4567}
";
        let file = IntegrationFile::read(text.as_bytes());
        assert_eq!(names_of(&file), ["1", "good"]);
        assert_eq!(file.integrations[0], dataset("1", "mnist", "12e4567"));
        let wrong: Vec<_> = file.problems.iter().filter_map(|problem| problem.name.as_deref()).collect();
        assert_eq!(wrong, ["../up", "bare", "both", "deep", "kind", "list", "open", "word"]);
        assert!(!format!("{file:?}").contains("wJalr"));
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        let words = problem("integrations:\n  a: [1,\n");
        assert!(words.starts_with("line "), "{words}");
        assert!(problem("integrations:\n  a: {type: dataset, id: x}\n  a: {type: dataset, id: y}\n").contains("twice"));
        assert!(problem("[1, 2]").contains("integrations:"));
        assert!(problem("integrations: [a]").contains("name with a colon"));
        assert!(problem("just words").contains("integrations:"));
        let binary = IntegrationFile::read(&[0xff, 0xfe, 0]);
        assert_eq!(binary.problems[0].message, "it is not text in UTF-8");
    }

    #[test]
    fn an_error_does_not_show_what_is_in_the_file() {
        for text in [
            "integrations:\n  a: {secretAccessKey: wJalrXUtnFEMI",
            "integrations:\n  a:\n    secretAccessKey: \"wJalrXUtnFEMI\n",
            "integrations:\n  a:\n    secretAccessKey: wJalrXUtnFEMI\n   b: 1\n",
            "wJalrXUtnFEMI",
            "integrations:\n  a:\n    secretAccessKey: {wJalrXUtnFEMI: 1}\n",
        ] {
            assert!(!problem(text).contains("wJalr"), "{text}");
        }
    }

    #[test]
    fn a_hostile_file_is_refused_quickly() {
        let bomb = (0..30).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let alias = format!("*a{n}, ").repeat(9);
            format!("{text}a{}: &a{} [{alias}]\n", n + 1, n + 1)
        });
        let begun = std::time::Instant::now();
        assert!(problem(&format!("{bomb}integrations: {{b: *a30}}\n")).contains("too much"));
        assert!(problem(&"[".repeat(60_000)).starts_with("line 1"));
        assert!(problem(&format!("integrations: {}", "{a: ".repeat(10_000))).starts_with("line 1"));
        assert!(problem(&"a".repeat(1 << 20)).contains("larger"));
        let many: String = (0..3000).map(|n| format!("  n{n}: {{type: dataset, id: m}}\n")).collect();
        let file = IntegrationFile::read(format!("integrations:\n{many}").as_bytes());
        assert!(file.integrations.len() <= MOST && !file.problems.is_empty());
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_change_leaves_everything_else_as_it_was() {
        let pinned = dataset("speech", "dst364npcw6ccok", "latest");
        let text = edited(FILE.as_bytes(), Change::Put(&pinned)).unwrap();
        assert_eq!(text, FILE.replace("fo5rp4m   # as in the paper", "latest"));
        let text = edited(FILE.as_bytes(), Change::Put(&dataset("words", "gradient/words", "v1"))).unwrap();
        assert!(text.contains(
            "    endpoint: https://minio.lab.example\n  words:\n    type: dataset\n    id: gradient/words\n"
        ));
        assert!(text.starts_with("# What this") && text.ends_with("editor:\n  theme: dark\n"));
        let text = edited(FILE.as_bytes(), Change::Remove("speech")).unwrap();
        assert!(text.contains("integrations:\n  # Raw recordings.\n  lab-bucket:\n"), "{text}");
        assert_eq!(edited(FILE.as_bytes(), Change::Remove("nothing")).unwrap(), FILE);
    }

    #[test]
    fn fields_that_nobody_here_knows_stay() {
        let text = "integrations:\n    a:\n      type: dataset\n      owner:\n        - me\n      id: m\n      # why\n      since: 2021\n";
        let after = edited(text.as_bytes(), Change::Put(&dataset("a", "words", "v2"))).unwrap();
        assert_eq!(
            after,
            "integrations:\n    a:\n      type: dataset\n      id: words\n      version: v2\n      owner:\n        - me\n      # why\n      since: 2021\n"
        );
    }

    #[test]
    fn it_is_begun_where_there_is_none() {
        let one = dataset("a", "mnist", "0012345");
        let begun = "integrations:\n  a:\n    type: dataset\n    id: mnist\n    version: \"0012345\"\n";
        for empty in ["", "integrations:\n", "integrations: {}\n", "integrations: # none\n", "integrations: null"] {
            let after = edited(empty.as_bytes(), Change::Put(&one)).unwrap();
            assert_eq!(IntegrationFile::read(after.as_bytes()).integrations, std::slice::from_ref(&one), "{empty}");
        }
        assert_eq!(edited(b"", Change::Put(&one)).unwrap(), begun);
        assert_eq!(edited(b"a: 1", Change::Put(&one)).unwrap(), format!("a: 1\n{begun}"));
        let empty = edited(begun.as_bytes(), Change::Remove("a")).unwrap();
        assert_eq!(IntegrationFile::read(empty.as_bytes()), IntegrationFile::default());
        assert_eq!(edited(empty.as_bytes(), Change::Put(&one)).unwrap(), begun);
    }

    #[test]
    fn what_is_not_understood_is_not_changed() {
        let one = dataset("a", "mnist", "latest");
        for text in [
            "{integrations: {b: {type: dataset, id: m}}}",
            "integrations: {b: {type: dataset, id: m}}",
            "integrations: &all\n  b: {type: dataset, id: m}\n",
            "x: |\n  text\nintegrations:\n  a: &one {type: dataset, id: m}\n  b: *one\n",
        ] {
            assert_eq!(edited(text.as_bytes(), Change::Put(&one)), Err(EditError::Unclear), "{text}");
        }
        assert!(matches!(edited(b"[", Change::Put(&one)), Err(EditError::Unreadable(_))));
        assert_eq!(edited("#".repeat(MAX_BYTES).as_bytes(), Change::Put(&one)), Err(EditError::TooLarge));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let s3 = S3Draft {
            url: "s3://lab/my files/#1: \"x\"".to_owned(),
            access_key_id: "LABKEY".to_owned(),
            secret_access_key: "secret:LAB_S3".to_owned(),
            region: Some("eu-west-1".to_owned()),
            read_only: true,
            ..S3Draft::default()
        };
        let mut text = String::new();
        let all = [dataset("on", "1234", "5678"), Integration::s3("null", s3).unwrap(), dataset("größe", "m", "v.1")];
        for one in &all {
            text = edited(text.as_bytes(), Change::Put(one)).unwrap();
        }
        let file = IntegrationFile::read(text.as_bytes());
        assert_eq!((file.integrations.len(), file.problems.len()), (3, 0), "{text}");
        assert!(all.iter().all(|one| file.integrations.contains(one)), "{text}");
    }
}
