//! A WebSocket as far as a proxy sees it: the handshake, and then bytes both ways.

use std::net::SocketAddr;

use super::{Client, Request, Upstream};

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches at once, and sends back what comes.
pub async fn tunnel() -> Upstream {
    Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        if client.head().await.is_err() {
            return;
        }
        drop(client.send(SWITCHED).await);
        while let Ok(bytes) = client.some().await {
            if client.send(&bytes).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Opens one at `/ws`.
pub async fn open(port: SocketAddr) -> Client {
    let mut client = Client::connect(port).await;
    let request = Request::get("/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    client.send(&request.to_bytes()).await.unwrap();
    let head = client.head().await.unwrap();
    assert!(head.first_line.starts_with("HTTP/1.1 101"), "{}", head.first_line);
    client
}
