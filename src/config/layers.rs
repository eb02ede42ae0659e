//! Gathers the layers into one [`Config`], and remembers which layer each value came from.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};

use super::{Config, Warning, check};

/// The settings file that is read when it is there and no other is named.
pub const DEFAULT_FILE: &str = "/etc/gradientd/gradientd.toml";

/// Where a value came from that nobody has set.
pub const BUILT_IN: &str = "built-in";

/// The environment's short forms and what they stand for.
const SHORT_FORMS: [(&str, &str); 3] = [
    ("GRADIENTD_DATA_DIR", "data.dir"),
    ("GRADIENTD_LISTEN", "server.listen"),
    ("GRADIENTD_WORKLOAD_LISTEN", "server.workload_listen"),
];

/// Tables whose keys are the admin's own names.
const FREE_TABLES: [&str; 1] = ["scheduler.aliases"];

/// What the command line says about settings.
#[derive(Debug, Clone, Default)]
pub struct ConfigArgs {
    /// `--config`: read instead of [`DEFAULT_FILE`]; must be there.
    pub file: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--workload-listen`.
    pub workload_listen: Option<String>,
    /// `--set section.key=value`, in order.
    pub set: Vec<String>,
}

/// Why there is no usable configuration. Each is one line that says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("there is no setting “{key}” ({origin}){}", nearest.as_ref().map(|key| format!(": did you mean “{key}”?")).unwrap_or_default())]
    Unknown { key: String, origin: String, nearest: Option<String> },
    #[error("{key}: {message} ({origin})")]
    Wrong { key: String, message: String, origin: String },
    #[error("“{0}” sets nothing: write --set section.key=value")]
    NotASetting(String),
    #[error("the value of {0} is not UTF-8")]
    NotText(String),
}

/// A finished configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What is allowed and should be known, for the log.
    pub warnings: Vec<Warning>,
    figment: Figment,
}

impl Config {
    /// Gathers settings from the file, this process's environment and `args`. Blocks on the disk.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong.
    pub fn load(args: &ConfigArgs) -> Result<Loaded, ConfigError> {
        Loaded::gather(Path::new(DEFAULT_FILE), std::env::vars_os(), args)
    }
}

impl Loaded {
    fn gather(
        default_file: &Path,
        environment: impl Iterator<Item = (OsString, OsString)>,
        args: &ConfigArgs,
    ) -> Result<Self, ConfigError> {
        let known = built_in();
        let mut layers = vec![Layer { origin: BUILT_IN.into(), dict: known.clone() }];
        layers.extend(file_layer(args.file.as_deref(), default_file)?);
        layers.extend(environment_layers(environment, &known)?);
        layers.extend(flag_layers(args, &known)?);

        let mut figment = Figment::new();
        for layer in layers {
            refuse_unknown(&layer.dict, &known, "", &layer.origin, &known)?;
            figment = figment.merge(layer);
        }
        let config: Config = figment.extract().map_err(|error| wrong(&error))?;
        let mut loaded = Self { config, warnings: Vec::new(), figment };
        loaded.warnings = check(&loaded.config).map_err(|flaw| ConfigError::Wrong {
            key: flaw.key.into(),
            message: flaw.message,
            origin: loaded.origin(flaw.key),
        })?;
        Ok(loaded)
    }

    /// Returns where the value of `key` (`section.key`) came from, in words.
    pub fn origin(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(|| BUILT_IN.to_owned(), |metadata| metadata.name.to_string())
    }
}

/// Values of one origin.
struct Layer {
    origin: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Returns the built-in values, which are also the list of all keys.
pub(super) fn built_in() -> Dict {
    serialized(&Config::default())
}

pub(super) fn serialized(config: &Config) -> Dict {
    let mut profiles = Serialized::defaults(config).data().expect("settings are plain data");
    profiles.remove(&Profile::Default).unwrap_or_default()
}

fn file_layer(named: Option<&Path>, default_file: &Path) -> Result<Option<Layer>, ConfigError> {
    let path = named.unwrap_or(default_file);
    let text = match fs::read_to_string(path) {
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?,
    };
    let dict = Toml::from_str::<Dict>(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        ConfigError::Syntax {
            path: path.to_owned(),
            line: text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1,
            message: error.message().replace('\n', ", "),
        }
    })?;
    Ok(Some(Layer { origin: path.display().to_string(), dict }))
}

/// One layer a variable, so that each value's origin is the variable's name.
fn environment_layers(
    environment: impl Iterator<Item = (OsString, OsString)>,
    known: &Dict,
) -> Result<Vec<Layer>, ConfigError> {
    let mut variables: Vec<(String, String, OsString)> = environment
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let key = match SHORT_FORMS.iter().find(|(short, _)| *short == name) {
                Some((_, key)) => (*key).to_owned(),
                // Others, such as GRADIENTD_FAULT, are not settings.
                None => name
                    .strip_prefix("GRADIENTD_")
                    .filter(|rest| rest.contains("__"))?
                    .replace("__", ".")
                    .to_lowercase(),
            };
            Some((key, name, value))
        })
        .collect();
    // The long form wins over the short one, whatever order the environment has.
    variables.sort_by_key(|(key, name, _)| (key.clone(), name.contains("__")));
    variables
        .into_iter()
        .map(|(key, name, value)| {
            let text = value.into_string().map_err(|_| ConfigError::NotText(name.clone()))?;
            Ok(Layer { dict: nested(&key, &text, known), origin: name })
        })
        .collect()
}

fn flag_layers(args: &ConfigArgs, known: &Dict) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    for (flag, key, value) in [
        ("--data-dir", "data.dir", &args.data_dir),
        ("--listen", "server.listen", &args.listen),
        ("--workload-listen", "server.workload_listen", &args.workload_listen),
    ] {
        layers.extend(value.as_ref().map(|text| Layer { dict: nested(key, text, known), origin: flag.into() }));
    }
    for text in &args.set {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| ConfigError::NotASetting(text.clone()))?;
        layers.push(Layer { dict: nested(key.trim(), value, known), origin: "--set".into() });
    }
    Ok(layers)
}

/// Turns `section.key` and a text into a table. What the text is read as depends on what the key
/// holds by default, so that a directory named `2024` stays a name.
fn nested(key: &str, text: &str, known: &Dict) -> Dict {
    let value = match find(known, key) {
        Some(Value::String(..)) => Value::from(text),
        Some(Value::Array(..)) if !text.trim_start().starts_with('[') => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect::<Vec<_>>().into()
        }
        _ => text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
    };
    figment::util::nest(key, value).into_dict().unwrap_or_default()
}

fn find<'a>(dict: &'a Dict, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => dict.get(key),
        Some((section, rest)) => find(dict.get(section)?.as_dict()?, rest),
    }
}

fn refuse_unknown(given: &Dict, known: &Dict, path: &str, origin: &str, all: &Dict) -> Result<(), ConfigError> {
    for (name, value) in given {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (known.get(name), value) {
            (None, _) => {
                return Err(ConfigError::Unknown { nearest: nearest(&key, all), key, origin: origin.to_owned() });
            }
            (Some(Value::Dict(_, known)), Value::Dict(_, given)) if !FREE_TABLES.contains(&key.as_str()) => {
                refuse_unknown(given, known, &key, origin, all)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the known key that is most like `key`, unless none is like it.
fn nearest(key: &str, all: &Dict) -> Option<String> {
    let mut keys = Vec::new();
    for (section, values) in all {
        keys.push(section.clone());
        keys.extend(values.as_dict().into_iter().flatten().map(|(name, _)| format!("{section}.{name}")));
    }
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    keys.into_iter()
        // The right key in the wrong section is as near as a slip of the finger.
        .map(|known| {
            let moved = if last(&known) == last(key) { 2.0 } else { 0.0 };
            (strsim::jaro_winkler(&known, key).max(moved), known)
        })
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness > 0.8)
        .map(|(_, known)| known)
}

fn wrong(error: &figment::Error) -> ConfigError {
    let origin = error.metadata.as_ref().map_or_else(|| BUILT_IN.to_owned(), |metadata| metadata.name.to_string());
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(name, known) => ConfigError::Unknown {
            key: if path.is_empty() || error.path.last() == Some(name) {
                name.clone()
            } else {
                format!("{path}.{name}")
            },
            nearest: known
                .iter()
                .max_by(|one, other| strsim::jaro_winkler(one, name).total_cmp(&strsim::jaro_winkler(other, name)))
                .map(|known| (*known).to_owned()),
            origin,
        },
        kind => ConfigError::Wrong { key: path, message: kind.to_string(), origin },
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{ByteSize, GpuAccessChoice, LogFormat, Span};

    fn gather(file: &str, environment: &[(&str, &str)], args: ConfigArgs) -> Result<Loaded, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gradientd.toml");
        fs::write(&path, file).unwrap();
        Loaded::gather(&path, environment.iter().map(|(name, value)| (name.into(), value.into())), &args)
    }

    fn words(file: &str, environment: &[(&str, &str)], set: &[&str]) -> String {
        let args = ConfigArgs { set: set.iter().map(ToString::to_string).collect(), ..ConfigArgs::default() };
        gather(file, environment, args).unwrap_err().to_string()
    }

    #[test]
    fn without_anything_the_built_in_values_hold() {
        let loaded = Loaded::gather(Path::new("/nonexistent"), std::iter::empty(), &ConfigArgs::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.origin("server.listen"), "built-in");
    }

    #[test]
    fn later_layers_win_and_each_value_remembers_its_own() {
        let args = ConfigArgs { set: vec!["limits.body=3MiB".into()], ..ConfigArgs::default() };
        let loaded = gather(
            "[limits]\nbody = '1KiB'\nupload = 2000\njob_time = '2d'\n[log]\nformat = 'json'",
            &[("GRADIENTD_LIMITS__BODY", "2KiB"), ("GRADIENTD_LIMITS__UPLOAD_FILES", "7")],
            args,
        )
        .unwrap();
        assert_eq!(loaded.config.limits.body, ByteSize::mib(3));
        assert_eq!(loaded.config.limits.upload, ByteSize(2000));
        assert_eq!(loaded.config.limits.upload_files, 7);
        assert_eq!(loaded.config.limits.job_time, Span(std::time::Duration::from_secs(172_800)));
        assert_eq!(loaded.config.log.format, LogFormat::Json);
        assert_eq!(loaded.origin("limits.body"), "--set");
        assert_eq!(loaded.origin("limits.upload_files"), "GRADIENTD_LIMITS__UPLOAD_FILES");
        assert!(loaded.origin("limits.upload").ends_with("gradientd.toml"));
        assert_eq!(loaded.origin("limits.connections"), "built-in");
    }

    #[test]
    fn short_forms_and_flags_set_their_keys() {
        let environment = [("GRADIENTD_DATA_DIR", "2024"), ("GRADIENTD_LISTEN", "127.0.0.1:1")];
        let args = ConfigArgs { listen: Some("127.0.0.1:2".into()), ..ConfigArgs::default() };
        let loaded = gather("", &environment, args).unwrap();
        assert_eq!(loaded.config.data.dir, Path::new("2024"));
        assert_eq!(loaded.config.server.listen, SocketAddr::from(([127, 0, 0, 1], 2)));
        assert_eq!(loaded.origin("server.listen"), "--listen");
    }

    #[test]
    fn texts_become_what_their_key_holds() {
        let environment = [
            ("GRADIENTD_SERVER__HOSTS", "a.example, b.example"),
            ("GRADIENTD_GPU__AVOID_BUSY", "false"),
            ("GRADIENTD_GPU__NVML_LIBRARY", "/opt/libnvidia-ml.so.1"),
            ("GRADIENTD_ENGINE__GPU_ACCESS", "device-request"),
            ("GRADIENTD_LOG__LEVEL", "debug"),
            ("GRADIENTD_SCHEDULER__ALIASES", "{P4000=\"gpu-1\"}"),
        ];
        let config = gather("", &environment, ConfigArgs::default()).unwrap().config;
        assert_eq!(config.server.hosts, ["a.example", "b.example"]);
        assert!(!config.gpu.avoid_busy);
        assert_eq!(config.gpu.nvml_library.as_deref(), Some(Path::new("/opt/libnvidia-ml.so.1")));
        assert_eq!(config.engine.gpu_access, GpuAccessChoice::DeviceRequest);
        assert_eq!(config.scheduler.aliases["P4000"], "gpu-1");
    }

    #[test]
    fn variables_that_are_not_settings_do_not_matter() {
        let environment =
            [("GRADIENTD_FAULT", "x:1"), ("GRADIENTD_BIN", "/x"), ("OTHER__KEY", "1"), ("GRADIENTD_X__Y", "")];
        assert!(gather("", &environment[..3], ConfigArgs::default()).is_ok());
        assert!(gather("", &environment, ConfigArgs::default()).is_err(), "two underscores are a setting");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_layer_and_the_nearest_one() {
        let text = words("[server]\nlissen = '127.0.0.1:1'", &[], &[]);
        assert!(
            text.contains("“server.lissen”") && text.contains("gradientd.toml") && text.contains("“server.listen”"),
            "{text}"
        );
        let text = words("", &[("GRADIENTD_LIMITS__BODDY", "1")], &[]);
        assert!(text.contains("GRADIENTD_LIMITS__BODDY") && text.contains("“limits.body”"), "{text}");
        let text = words("", &[], &["server.stop_grace=1s"]);
        assert!(text.contains("(--set)") && text.contains("“engine.stop_grace”"), "{text}");
        let text = words("serwer = 1", &[], &[]);
        assert!(text.contains("“serwer”") && text.contains("“server”"), "{text}");
        let machine = "[[scheduler.machine_types]]\nname='a'\ncores=1.0\nmemory_gb=1.0";
        let text = words(machine, &[], &[]);
        assert!(text.contains("memory_gb") && text.contains("“memory_gib”"), "{text}");
    }

    #[test]
    fn a_wrong_value_names_its_key_and_layer() {
        let text = words("", &[("GRADIENTD_SERVER__LISTEN", "7070")], &[]);
        assert!(text.starts_with("server.listen: ") && text.ends_with("(GRADIENTD_SERVER__LISTEN)"), "{text}");
        let text = words("", &[], &["limits.body=-1"]);
        assert!(text.contains("limits.body") && text.contains("512MiB"), "{text}");
        let text = words("", &[], &["limits.body"]);
        assert!(text.contains("section.key=value"), "{text}");
        let text = words("", &[], &["limits.connections=0"]);
        assert!(text.starts_with("limits.connections: ") && text.ends_with("(--set)"), "{text}");
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let text = words("[server]\nlisten = 'x'\nhosts = [", &[], &[]);
        assert!(text.contains("gradientd.toml, line 3: ") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let args = ConfigArgs { file: Some("/nonexistent/x.toml".into()), ..ConfigArgs::default() };
        assert!(matches!(gather("", &[], args), Err(ConfigError::Unreadable { .. })));
    }
}
