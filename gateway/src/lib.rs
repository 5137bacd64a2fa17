//! ws-cloud-gateway: see `ARCHITECTURE.md`.
pub mod config;
pub mod resource;
