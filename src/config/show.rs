//! Prints the finished settings as a settings file, each value with its origin.

use std::fmt::Write;

use figment::value::{Dict, Empty, Num, Value};

use super::{Loaded, layers::serialized};

/// Returns all settings as TOML, each with a comment that says where it came from. Values of
/// secret keys are masked.
pub fn show(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (section, values) in &serialized(&loaded.config) {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{section}]");
        for (name, value) in values.as_dict().into_iter().flatten() {
            let key = format!("{section}.{name}");
            let _ = writeln!(text, "{}  # {}", line(name, value), loaded.origin(&key));
        }
    }
    text
}

fn line(name: &str, value: &Value) -> String {
    match value {
        // TOML has no word for nothing, so the line is a comment altogether.
        Value::Empty(_, Empty::None | Empty::Unit) => format!("# {name} is not set"),
        _ if is_secret(name) => format!("{name} = \"********\""),
        value => format!("{name} = {}", toml(value)),
    }
}

/// Says whether the value of a key of this name is nobody's business.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "credential", "private_key", "access_key"].iter().any(|word| name.contains(word))
}

pub(super) fn toml(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, c) => quoted(&c.to_string()),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number_text(*number),
        Value::Empty(..) => "\"\"".into(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, dict) => inline_table(dict),
    }
}

fn inline_table(dict: &Dict) -> String {
    let fields: Vec<String> = dict
        .iter()
        .filter(|(_, value)| !matches!(value, Value::Empty(..)))
        .map(|(name, value)| if is_secret(name) { (name, quoted("********")) } else { (name, toml(value)) })
        .map(|(name, value)| format!("{} = {value}", quoted(name)))
        .collect();
    if fields.is_empty() { "{}".into() } else { format!("{{ {} }}", fields.join(", ")) }
}

fn number_text(number: Num) -> String {
    match number.to_f64() {
        Some(float) => format!("{float:?}"),
        None => number.to_i128().map_or_else(|| number.to_u128().unwrap_or(0).to_string(), |whole| whole.to_string()),
    }
}

/// A JSON string is a TOML basic string, but for the DEL character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::{Config, ConfigArgs};

    fn load(file: &Path) -> Loaded {
        Config::load(&ConfigArgs { file: Some(file.into()), ..ConfigArgs::default() }).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("first.toml");
        let machines = "[[scheduler.machine_types]]\nname = 'ab'\ncores = 0.5\nmemory_gib = 2.0\ngpus = 1\nshare = 2\naliases = ['x y']\n";
        let rest = "[scheduler.aliases]\n'P4000 \"x\"' = 'a'\n[server]\nhosts = ['h']\n[retention]\nevents = '90m'\n";
        fs::write(&first, format!("{machines}{rest}")).unwrap();
        let loaded = load(&first);
        let shown = show(&loaded);
        let second = dir.path().join("second.toml");
        fs::write(&second, &shown).unwrap();
        assert_eq!(load(&second).config, loaded.config, "{shown}");
        assert!(shown.contains("events = \"1h30m\"  # "), "{shown}");
    }

    #[test]
    fn every_value_has_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.toml");
        fs::write(&path, "[log]\nlevel = 'debug'\n").unwrap();
        let shown = show(&load(&path));
        assert!(shown.contains(&format!("level = \"debug\"  # {}", path.display())), "{shown}");
        for line in shown.lines().filter(|line| !line.is_empty() && !line.starts_with('[')) {
            assert!(line.contains("  # "), "{line}");
        }
    }

    #[test]
    fn secret_values_are_masked() {
        let value = Value::from("hunter2");
        for name in ["password", "smtp_password", "api_token"] {
            assert_eq!(line(name, &value), format!("{name} = \"********\""));
        }
        let dict = Value::from(Dict::from([("secret".to_owned(), value)]));
        assert!(!line("storage", &dict).contains("hunter2"));
    }
}
