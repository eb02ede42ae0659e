//! Changes the file by its lines: whatever else is in it, comments too, stays as it is, and where that cannot
//! be told for certain it is not changed at all.

use std::collections::BTreeMap;

use super::{
    KNOWN, MAX_BYTES, PATH, TOP, Value, checked_text, contents,
    lines::{indent_of, is_content, key_of},
};
use crate::domain::integration::{Integration, MOST};

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

#[cfg(test)]
mod tests {
    use super::{
        super::{IntegrationFile, tests::FILE},
        *,
    };
    use crate::domain::integration::S3Draft;

    fn dataset(name: &str, id: &str, version: &str) -> Integration {
        Integration::dataset(name, id, Some(version)).unwrap()
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
