//! An HTTP/2 connection, which may end before the process does.
//!
//! Pingora says GOAWAY when it is told that the process ends. So each connection is told on its own.

use std::pin::pin;
use std::sync::Arc;

use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use super::Proxy;
use super::connection::{Connection, Guarded};

/// Serves the connection to its end.
pub(super) async fn serve(
    proxy: &Arc<HttpProxy<Proxy>>,
    stream: Guarded,
    connection: &Connection,
    shutdown: &ShutdownWatch,
) {
    connection.header_complete();
    let (retire, retired) = watch::channel(false);
    connection.retire_by(retire);
    let mut serving = pin!(ServerApp::process_new(proxy, Box::new(stream), &retired));
    let mut shutdown = shutdown.clone();
    let mut told = false;
    loop {
        tokio::select! {
            _ = &mut serving => return,
            // An error is a sender that is gone, which means the same.
            _ = shutdown.wait_for(|ending| *ending), if !told => {
                told = true;
                connection.retire();
            }
        }
    }
}
