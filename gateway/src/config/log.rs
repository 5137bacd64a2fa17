//! The access log and the error log.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// One JSON line for each request.
    pub access: AccessLogConfig,
    /// One JSON line for each call of the Admin API.
    pub admin: AdminLogConfig,
    /// What the gateway has to say.
    pub error: ErrorLogConfig,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// A file, `stdout`, or `off`.
    pub output: String,
    /// Size at which the file is set aside; 0 = never.
    pub rotate_size: ByteSize,
    /// How many files set aside are kept.
    pub rotate_keep: usize,
    /// Most lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            output: "logs/gateway-access.log".into(),
            rotate_size: ByteSize::mib(100),
            rotate_keep: 5,
            queue: 65_536,
        }
    }
}

/// The access log of the Admin API. Not the type of the other one: what a file leaves out is another
/// output here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminLogConfig {
    /// A file, `stdout`, or `off`.
    pub output: String,
    /// Size at which the file is set aside; 0 = never.
    pub rotate_size: ByteSize,
    /// How many files set aside are kept.
    pub rotate_keep: usize,
    /// Most lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

impl Default for AdminLogConfig {
    fn default() -> Self {
        Self { output: "logs/admin-access.log".into(), rotate_size: ByteSize::mib(100), rotate_keep: 5, queue: 4096 }
    }
}

/// The error log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorLogConfig {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; changeable while running.
    pub level: LogLevel,
    /// `text` or `json`.
    pub format: LogFormat,
    /// A file, or `stderr`.
    pub output: String,
}

impl Default for ErrorLogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, output: "stderr".into() }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
