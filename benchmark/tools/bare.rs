//! The floor: a Pingora proxy that does nothing but carry bytes, tuned as the gateway is.
//!
//! What the gateway costs beyond this is its own work. So it shares all that can be had from
//! Pingora by settings: allocator, one listener task a thread without work stealing, small buffers,
//! prebuilt peers, no modules, shared HTTP/2 connections. It has no route, no log and no metrics.
//!
//! `bare HTTP_ADDRESS H2C_ADDRESS NODE,NODE GRPC_NODE [THREADS]`

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::ListenerConfig;
use pingora::modules::http::HttpModules;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{HttpProxy, ProxyHttp, Session, http_proxy};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Bare {
    peers: Vec<HttpPeer>,
    next: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.peers[turn % self.peers.len()].clone()))
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [http, h2c, nodes, grpc, threads @ ..] = words.as_slice() else {
        anyhow::bail!("usage: bare HTTP_ADDRESS H2C_ADDRESS NODE,NODE GRPC_NODE [THREADS]");
    };
    let threads = threads.first().map_or(Ok(1), |n| n.parse()).context("THREADS is a number")?;
    let conf = ServerConf {
        threads,
        listener_tasks_per_fd: threads,
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server.add_service(listening(&server, "http", http, nodes, false)?);
    server.add_service(listening(&server, "grpc", h2c, grpc, true)?);
    server.run_forever()
}

fn listening(
    server: &Server,
    name: &str,
    address: &str,
    nodes: &str,
    http2: bool,
) -> anyhow::Result<Service<HttpProxy<Bare>>> {
    let peers = nodes.split(',').map(|node| peer(node, http2)).collect::<anyhow::Result<_>>()?;
    let mut proxy = http_proxy(&server.configuration, Bare { peers, next: AtomicUsize::new(0) });
    if http2 {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
        proxy.h2_options = Some(default_h2_options());
    }
    let mut service = Service::new(name.into(), proxy);
    service.add_listener(ListenerConfig::tcp(address.to_owned()).l4_buffer(L4BufferSettings::new(8192, 1460)));
    Ok(service)
}

fn peer(node: &str, http2: bool) -> anyhow::Result<HttpPeer> {
    let address: SocketAddr = node.parse().with_context(|| format!("{node:?} is no address such as 127.0.0.1:80"))?;
    let mut peer = HttpPeer::new(address, false, String::new());
    if http2 {
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = 100;
    }
    Ok(peer)
}
