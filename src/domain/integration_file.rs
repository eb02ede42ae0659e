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
//! that is wrong spoils no other, and is told with its place. [`edit`] changes the file.

mod edit;
mod lines;
mod mistake;
mod value;

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{
    integration::{DataProblem, Integration, MOST},
    user_path::shown,
};

pub use edit::{Change, EditError, edited};
use mistake::Mistake;
use value::Value;

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

/// Fields that an entry of ours has; it keeps any other when it is replaced.
const KNOWN: [&str; 10] =
    ["type", "id", "ref", "version", "url", "accessKeyId", "secretAccessKey", "region", "endpoint", "readOnly"];

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrationFile {
    /// By name.
    pub integrations: Vec<Integration>,
    pub problems: Vec<DataProblem>,
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

fn checked_text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    std::str::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

/// Reads the document with `seed`; an error says where it is, and never what is there.
fn parse<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, Mistake> {
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
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| seed.deserialize(document))
        .map_err(|error| Mistake::of(text, &error))
}

/// Everything in the file, with the integrations apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    entries: BTreeMap<String, Value>,
    others: BTreeMap<String, Value>,
}

fn contents(text: &str) -> Result<Contents, String> {
    let is_empty = text.lines().all(|line| !lines::is_content(line));
    let document = match is_empty {
        true => Value::Nothing,
        false => parse(text, std::marker::PhantomData::<Value>).map_err(|mistake| mistake.to_string())?,
    };
    let mut others = match document {
        Value::Nothing => BTreeMap::new(),
        Value::Map(map) => map,
        Value::Text(_) | Value::List(_) => return Err(format!("it has to say “{TOP}:”, and beneath it what there is")),
    };
    let entries = match others.remove(TOP) {
        None | Some(Value::Nothing) => BTreeMap::new(),
        Some(Value::Map(map)) => map,
        Some(_) => {
            let line = lines::line_of(text, None, None).map(|line| format!("line {line}: ")).unwrap_or_default();
            return Err(format!("{line}beneath “{TOP}:” there has to be a name with a colon for each, and its fields"));
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
    let fields = parse(text, Within(TOP, Within(name, Fields))).map_err(|mistake| mistake.within_entry())?;
    let fields = fields.flatten().unwrap_or_default();
    Integration::of_fields(name, &fields).map_err(|wrong| mistake::of_field(text, name, &wrong))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::Source;

    pub(super) const FILE: &str = "\
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
        for (text, words) in [
            ("integrations:\n  a: [1,\n", "line 2, column 6, at “a”: this bracket is opened and never closed"),
            ("integrations:\n  a:\n    id: \"x\n", "line 4, column 1, at “a”, id: a quote that was opened"),
            ("integrations:\n  a:\n    id: x\n   b: 1\n", "line 4, column 4, at “a”: the line is indented otherwise"),
            ("integrations:\n  a:\n\t  id: x\n", "line 3, column 4: there is a tab"),
            (
                "integrations:\n  a:\n    type: dataset\n    id x\n",
                "line 4, column 5, at “a”: “name: value” is expected",
            ),
            ("integrations:\n  a:\n    url: s3://a: b\n", "line 3, column 16, at “a”, url: there is a colon"),
            ("integrations:\n  a:\n    id: @x\n", "line 3, column 9, at “a”, id: a text cannot begin"),
            ("integrations:\n  a:\n    id: *x\n", "line 3, column 9, at “a”, id: what is repeated here"),
            ("a: 1\n---\nb: 2\n", "line 2, column 1: there is too much in it"),
            ("integrations: [a]", "line 1: beneath “integrations:” there has to be a name with a colon"),
        ] {
            assert!(problem(text).starts_with(words), "{text}: {}", problem(text));
        }
        assert!(problem("integrations:\n  a: {type: dataset, id: x}\n  a: {type: dataset, id: y}\n").contains("twice"));
        assert!(problem("[1, 2]").contains("integrations:"));
        assert!(problem("just words").contains("integrations:"));
        let binary = IntegrationFile::read(&[0xff, 0xfe, 0]);
        assert_eq!(binary.problems[0].message, "it is not text in UTF-8");
    }

    #[test]
    fn what_is_wrong_with_an_entry_says_its_line_its_field_and_what_is_expected() {
        for (entry, words) in [
            ("    id: {a: b}\n", "line 3, column 9, id: one text is expected here, and no list or fields"),
            ("    - x\n", "line 3, column 5: fields are expected here"),
            ("    type: ftp\n", "line 3: type is dataset or s3"),
            ("    # later\n    type: dataset\n    id: ../x\n", "line 5, id: “../x” names no dataset"),
            ("    type: dataset\n", "line 2: id is missing"),
            (
                "    type: s3\n    url: x\n    accessKeyId: A\n    secretAccessKey: secret:K\n    region: a\n",
                "line 4: url is s3",
            ),
            ("", "line 2: type is missing: dataset or s3"),
        ] {
            let found = problem(&format!("integrations:\n  a:\n{entry}"));
            assert!(found.starts_with(words), "{entry}: {found}");
        }
        let flow = problem("integrations: {a: {type: ftp}}\n");
        assert_eq!(flow, "type is dataset or s3", "a line that is not certain is not told");
    }

    #[test]
    fn an_error_does_not_show_what_is_in_the_file() {
        for text in [
            "integrations:\n  a: {secretAccessKey: wJalrXUtnFEMI",
            "integrations:\n  a:\n    secretAccessKey: \"wJalrXUtnFEMI\n",
            "integrations:\n  a:\n    secretAccessKey: wJalrXUtnFEMI\n   b: 1\n",
            "wJalrXUtnFEMI",
            "integrations:\n  a:\n    secretAccessKey: {wJalrXUtnFEMI: 1}\n",
            "integrations:\n  a:\n    secretAccessKey:\n      wJalrXUtnFEMI: [\n",
            "integrations:\n  a:\n    wJalrXUtnFEMI: @\n",
            "wJalrXUtnFEMI:\n  a: [\n",
            "integrations:\n  a:\n    id: *wJalrXUtnFEMI\n",
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
}
