//! The lines of the file, as far as they are of the usual form: where entries and fields begin.

use super::TOP;

/// Returns the names of the entry and of its field that a line, counted from 1, belongs to, as far as can be told
/// from how the lines are indented.
pub(super) fn names_at(text: &str, line: usize) -> (Option<String>, Option<String>) {
    let before: Vec<&str> = text.lines().take(line).collect();
    let mut names = Vec::new();
    let mut indent = usize::MAX;
    for line in before.into_iter().rev().filter(|line| is_content(line)) {
        if indent_of(line) < indent {
            indent = indent_of(line);
            names.push(key_of(line));
        }
    }
    let mut names = names.into_iter().rev();
    match names.next().flatten() {
        Some(top) if top == TOP => (names.next().flatten(), names.next().flatten()),
        _ => (None, None),
    }
}

/// Returns the line, counted from 1, of a field of an entry; that of the entry where there is none, and of the top
/// without an entry. `None` where the lines are not of the usual form.
pub(super) fn line_of(text: &str, name: Option<&str>, field: Option<&str>) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| indent_of(line) == 0 && key_of(line).as_deref() == Some(TOP))?;
    let Some(name) = name else { return Some(head + 1) };
    let entry = beneath(&lines, head).find(|at| key_of(lines[*at]).as_deref() == Some(name))?;
    let field = field.and_then(|field| beneath(&lines, entry).find(|at| key_of(lines[*at]).as_deref() == Some(field)));
    Some(field.unwrap_or(entry) + 1)
}

/// Returns the lines that lie beneath a line and as deep as the first of them.
fn beneath<'a>(lines: &'a [&str], of: usize) -> impl Iterator<Item = usize> + 'a {
    let outer = indent_of(lines[of]);
    let contents = (of + 1..lines.len()).filter(|at| is_content(lines[*at]));
    let inner = contents.clone().next().map_or(0, |first| indent_of(lines[first]));
    contents.take_while(move |at| indent_of(lines[*at]) > outer).filter(move |at| indent_of(lines[*at]) == inner)
}

pub(super) fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

pub(super) fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Returns the name in front of the colon of a line.
pub(super) fn key_of(line: &str) -> Option<String> {
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
