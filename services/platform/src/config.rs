//! Settings: a TOML file, then `TRANGTIEN_…` variables over it.
//!
//! A variable's name is the key's path in upper case joined by `__`: `TRANGTIEN_WALLET__LEDGER__QUEUE=4096`.
//! Unknown keys are refused, in the file and in the environment, so that a typing error never means a silent default.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every variable's name begins with.
const PREFIX: &str = "TRANGTIEN_";

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown, missing or of the wrong type.
    #[error("{0}")]
    Value(String),
}

/// Reads settings of type `T` (whose types refuse unknown fields) from `file`, if given, and the environment.
///
/// # Errors
/// Names the key, what was expected, and where it came from.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    let mut figment = Figment::new();
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        figment = figment.merge(Toml::string(&text));
    }
    figment = figment.merge(Env::prefixed(PREFIX).split("__"));
    figment.extract().map_err(|error| ConfigError::Value(explain(&error, file)))
}

fn explain(error: &figment::Error, file: Option<&Path>) -> String {
    let lines: Vec<String> = error
        .clone()
        .into_iter()
        .map(|one| {
            let from_environment = one.metadata.as_ref().is_some_and(|metadata| metadata.name.contains("environment"));
            let key = one.path.join(".");
            let place = match (from_environment, file) {
                (true, _) => format!("environment variable {PREFIX}{}", one.path.join("__").to_uppercase()),
                (false, Some(path)) => path.display().to_string(),
                (false, None) => "configuration".to_owned(),
            };
            if key.is_empty() { format!("{place}: {}", one.kind) } else { format!("{place}: `{key}`: {}", one.kind) }
        })
        .collect();
    lines.join("\n")
}

/// A secret setting: either the value itself or `{ file = "/path" }`, whose content (without the final line break) is it.
///
/// Invariant: it is never shown by `Debug`, and serialises only into files that the program writes for its own processes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value; keep it out of logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_empty() { "Secret(empty)" } else { "Secret(…)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a secret, as a string or { file = \"/path\" }")]
        enum Form {
            Value(String),
            File { file: PathBuf },
        }
        match Form::deserialize(deserializer)? {
            Form::Value(value) => Ok(Self(value)),
            Form::File { file } => match std::fs::read_to_string(&file) {
                Ok(text) => Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => {
                    Err(serde::de::Error::custom(format!("cannot read secret file {}: {error}", file.display())))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::scratch::TestFolder;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        http: Http,
        pepper: Secret,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Http {
        port: u16,
    }

    /// A file in a folder that is removed with the first value.
    fn file(name: &str, text: &str) -> (TestFolder, PathBuf) {
        let folder = TestFolder::new("config").expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is writable");
        (folder, path)
    }

    #[test]
    fn an_unknown_key_is_named() {
        let (_folder, path) = file("unknown.toml", "[http]\nprot = 1\n");
        let error = load::<Sample>(Some(&path)).expect_err("refused").to_string();
        assert!(error.contains("prot") && error.contains("http"), "{error}");
    }

    #[test]
    fn a_secret_comes_from_a_file_and_stays_out_of_debug() {
        let (_secrets, secret) = file("secret", "pepper\n");
        let (_folder, path) = file("secret.toml", &format!("pepper = {{ file = {:?} }}\n[http]\nport = 1", secret));
        let sample: Sample = load(Some(&path)).expect("valid");
        assert_eq!(sample.pepper.expose(), "pepper");
        assert_eq!(sample.http.port, 1);
        assert!(!format!("{sample:?}").contains("pepper\""));
    }
}
