//! Holds `config/gradientd.toml`, the commented file that is installed, in step with the structs: it
//! must be exactly what their doc comments and built-in values say.

use std::fmt::Write;

use figment::value::{Empty, Value};

use super::{layers::built_in, show};

/// Every section in the order of the file, with the source that documents it.
const SECTIONS: [(&str, &str); 14] = [
    ("data", include_str!("data.rs")),
    ("server", include_str!("server.rs")),
    ("engine", include_str!("engine.rs")),
    ("gpu", include_str!("gpu.rs")),
    ("scheduler", include_str!("scheduler.rs")),
    ("storage", include_str!("storage.rs")),
    ("notebooks", include_str!("notebooks.rs")),
    ("terminals", include_str!("terminals.rs")),
    ("s3_sources", include_str!("s3_sources.rs")),
    ("tensorboards", include_str!("tensorboards.rs")),
    ("limits", include_str!("limits.rs")),
    ("retention", include_str!("retention.rs")),
    ("disk", include_str!("disk.rs")),
    ("log", include_str!("log.rs")),
];

const HEAD: &str = "\
# The settings of gradientd, each with its built-in value. Uncomment what you change; a key that does
# not exist is an error. `gradientd config show` prints what holds and where it came from.
#
# Every setting can also be given as GRADIENTD_SECTION__KEY in the environment or as
# --set section.key=value on the command line; later wins.
# Sizes: 512MiB, 1.5GiB, 20GB or bytes. Lengths of time: 500ms, 30s, 5m, 1h30m, 7d or seconds.
";

/// Writes the file from the sources.
fn example() -> String {
    let known = built_in();
    let mut text = HEAD.to_owned();
    for (section, source) in SECTIONS {
        let values = known[section].as_dict().unwrap();
        let fields = fields(source);
        assert_eq!(fields.len(), values.len(), "a field of [{section}] has no doc comment");
        let _ = write!(text, "\n[{section}]\n");
        for (name, doc) in fields {
            for line in doc {
                let _ = writeln!(text, "#{}{line}", if line.is_empty() { "" } else { " " });
            }
            match &values[&name] {
                Value::Empty(_, Empty::None | Empty::Unit) => writeln!(text, "#{name} = \"\"\n"),
                value => writeln!(text, "#{name} = {}\n", show::toml(value)),
            }
            .unwrap();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Returns the documented public fields of the first struct in `source`.
fn fields(source: &str) -> Vec<(String, Vec<&str>)> {
    let body = source.split_once("pub struct").unwrap().1.split_once("\n}").unwrap().0;
    let (mut found, mut doc) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            doc.push(words.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':'))
            && !doc.is_empty()
        {
            found.push((name.to_owned(), std::mem::take(&mut doc)));
        }
    }
    found
}

#[test]
fn every_doc_comment_names_the_built_in_value() {
    let known = built_in();
    for (section, source) in SECTIONS {
        for (name, doc) in fields(source) {
            let value = match &known[section].as_dict().unwrap()[&name] {
                Value::Empty(..) | Value::Array(..) | Value::Dict(..) => String::new(),
                value => show::toml(value).replace('"', "`"),
            };
            let doc = doc.join(" ");
            assert!(doc.contains("Default") && doc.contains(&value), "{section}.{name}: {doc}");
        }
    }
}

#[test]
fn the_installed_settings_file_says_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/gradientd.toml");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    let expected = example();
    if file != expected {
        let proposed = std::env::temp_dir().join("gradientd.toml");
        std::fs::write(&proposed, &expected).unwrap();
        panic!("config/gradientd.toml is out of step: look at {} and copy it there", proposed.display());
    }
}

#[test]
fn the_installed_settings_file_changes_nothing_with_or_without_its_comment_signs() {
    let dir = tempfile::tempdir().unwrap();
    let uncommented: String = example()
        .lines()
        // Prose has a space after the sign, settings have none; those without a value stay out.
        .map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.ends_with("\"\"")).unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n");
    for (name, text) in [("commented.toml", example()), ("plain.toml", uncommented)] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let args = super::ConfigArgs { file: Some(path), ..super::ConfigArgs::default() };
        assert_eq!(super::Config::load(&args).unwrap().config, super::Config::default(), "{name}");
    }
}
