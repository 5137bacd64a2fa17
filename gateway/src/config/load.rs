//! Reads the configuration file, in the new form (YAML) or the old one (`conf/app.json`).

use std::path::{Path, PathBuf};

use super::{Config, legacy, validate};

/// Why a configuration file was not accepted. Displays with file, place and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what it should be; the message shows the line.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with a snippet.
        message: String,
    },
    /// A value is of the right type and wrong all the same.
    #[error("{path}: {field}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The field, such as `store.data_prefix`.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Loads and checks a configuration file. `${NAME}` and `${NAME:-default}` in plain values are
/// taken from the environment.
///
/// # Errors
/// When the file cannot be read or a value in it is wrong.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let config = parse(path, &text)?;
    validate::validate(&config).map_err(|(field, reason)| ConfigError::Value { path: path.into(), field, reason })?;
    Ok(config)
}

fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let error = |message| ConfigError::Parse { path: path.into(), message };
    if let Some(value) = legacy::recognise(text) {
        return legacy::convert(value).map_err(error);
    }
    // An empty file means all defaults; serde sees it as null, which is no struct.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config::default());
    }
    let options = serde_saphyr::Options::default().with_properties(std::env::vars().collect());
    serde_saphyr::from_str_with_options(text, options).map_err(|e| error(render(path, &e)))
}

/// The error with the lines it is about. The file's name stands before it already.
fn render(path: &Path, error: &serde_saphyr::Error) -> String {
    let name = path.display().to_string();
    let options = serde_saphyr::render_options! {
        formatter: &serde_saphyr::UserMessageFormatter,
        source_name: Some(name.as_str()),
    };
    let text = error.render_with_options(options);
    text.strip_prefix("error: ").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.yaml");
        std::fs::write(&file, text).unwrap();
        load(&file).map_err(|e| e.to_string().replace(&dir.path().display().to_string(), ""))
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(loaded("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_says_exactly_the_defaults() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/gateway.yaml");
        assert_eq!(load(&shipped).unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_names_every_field() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/gateway.yaml");
        let text = std::fs::read_to_string(shipped).unwrap();
        fn keys(value: &serde_json::Value, out: &mut Vec<String>) {
            if let serde_json::Value::Object(map) = value {
                for (key, value) in map {
                    out.push(key.clone());
                    keys(value, out);
                }
            }
        }
        let mut names = Vec::new();
        keys(&serde_json::to_value(Config::default()).unwrap(), &mut names);
        names.extend(["jwt_secret", "account", "tokens", "secrets", "password", "ca_file"].map(String::from));
        let missing: Vec<_> = names.iter().filter(|name| !text.contains(&format!("{name}:"))).collect();
        assert!(missing.is_empty(), "etc/gateway.yaml does not show {missing:?}");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let error = loaded("store:\n  kindd: etcd\n").unwrap_err();
        assert!(error.contains("gateway.yaml") && error.contains("kindd") && error.contains("2"), "{error}");
        assert!(error.contains("kind"), "what would be right: {error}");
    }

    #[test]
    fn a_wrong_value_is_shown_with_its_line() {
        let error = loaded("client:\n  header_timeout: soon\n").unwrap_err();
        assert!(error.contains("header_timeout: soon") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_default_in_braces_is_used_when_the_variable_is_not_set() {
        let config = loaded("store:\n  data_prefix: ${WS_NO_SUCH_VARIABLE:-/cloud/}\n").unwrap();
        assert_eq!(config.store.data_prefix, "/cloud/");
    }

    #[test]
    fn a_variable_that_is_not_set_is_an_error_that_names_it() {
        let error = loaded("store:\n  data_prefix: ${WS_NO_SUCH_VARIABLE}\n").unwrap_err();
        assert!(error.contains("WS_NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_refused_with_field_and_cure() {
        for (text, field, cure) in [
            ("store: {data_prefix: my/cloud}", "store.data_prefix", "begin and end with `/`"),
            ("client: {max_header_size: 10MiB}", "client.max_header_size", "1 MiB"),
            ("store: {kind: etcd, etcd: {endpoints: []}}", "store.etcd.endpoints", "at least one"),
            ("listeners: {http: [], h2c: []}", "listeners", "at least one address"),
            ("upstream: {max_tries: 0}", "upstream.max_tries", "at least 1"),
            ("client: {header_timeout: 0s}", "client.header_timeout", "greater than 0"),
            ("listeners: {http: ['127.0.0.1:12000']}", "listeners.http", "admin.listen"),
            ("admin: {listen: '0.0.0.0:12000', jwt_secret: ws-cloud-gateway-1024}", "admin.jwt_secret", "loopback"),
            (
                "admin: {listen: '0.0.0.0:12000', tokens: {e09d6153f1c15395397be3639d144794: {}}}",
                "admin.tokens",
                "loopback",
            ),
            ("admin: {listen: '0.0.0.0:12000', account: {admin: {password: admin}}}", "admin.account", "loopback"),
            ("admin: {tokens: {t: {desc: ci, services: [a]}}}", "admin.tokens", "may: [register]"),
            ("admin: {tokens: {t: {desc: ci, may: []}}}", "the token \"ci\"", "may: [register]"),
            ("admin: {tokens: {t: {desc: ci, may: [register]}}}", "the token \"ci\"", "name the services"),
            ("admin: {tokens: {t: {may: [register], services: ['a*b']}}}", "a*b", "one * after it"),
            ("admin: {tokens: {t: {may: [register], services: ['a**']}}}", "a**", "one * after it"),
            ("admin: {tokens: {t: {may: [regster], services: [a]}}}", "regster", "register"),
            ("admin: {cors_origins: ['*']}", "admin.cors_origins", "name each origin"),
        ] {
            let error = loaded(text).unwrap_err();
            assert!(error.contains(field) && error.contains(cure), "{text}: {error}");
        }
    }

    #[test]
    fn the_old_file_is_read() {
        let config = loaded(
            r#"{"appName":"ws-cloud-gateway","env":"test",
                "etcd":{"http_host":["http://10.0.0.1:2379","https://etcd-2:2379"],"data_prefix":"/my/cloud/"},
                "plugins":["default_plugin","discovery_plugin","tracing_plugin","rewrite_plugin"],
                "admin":{"jwt_secret":"s3cret-s3cret-s3cret","account":{"ops":{"password":"pw","info":{"roles":["admin"],"name":"Ops"}}}},
                "tokens":{"abcdef":{"desc":"ci"}},
                "healthcheck":{"try_count":3,"active":{"type":"tcp","timeout":1,"healthy":{"interval":3,"successes":1},
                    "unhealthy":{"interval":10,"tcp_failures":2}}}}"#,
        )
        .unwrap();
        assert_eq!(config.store.kind, super::super::StoreKind::Etcd);
        assert_eq!(config.store.etcd.endpoints, ["http://10.0.0.1:2379", "https://etcd-2:2379"]);
        assert_eq!(config.admin.account["ops"].info["name"], "Ops");
        assert_eq!(config.admin.tokens["abcdef"].desc, "ci");
        assert_eq!(config.healthcheck, Some(super::super::HealthcheckConfig::default()));
    }

    #[test]
    fn an_old_file_without_healthcheck_probes_nothing() {
        let config =
            loaded(r#"{"appName":"x","etcd":{"http_host":"http://127.0.0.1:2379","data_prefix":"/p/"}}"#).unwrap();
        assert_eq!(config.healthcheck, None);
        assert_eq!(config.store.etcd.endpoints, ["http://127.0.0.1:2379"]);
    }
}
