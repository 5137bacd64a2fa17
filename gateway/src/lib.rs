//! ws-cloud-gateway: see `ARCHITECTURE.md`.
pub mod config;
pub mod pipeline;
pub mod proxy;
pub mod request;
pub mod resource;
pub mod router;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
