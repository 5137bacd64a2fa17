//! An upstream in a process of its own, which can be killed as real ones are.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Process;
use super::{eventually, free_address};

/// nginx in one process that answers 200 with its own address to everything.
pub struct Nginx {
    pub address: SocketAddr,
    dir: TempDir,
    process: Process,
}

impl Nginx {
    pub async fn start() -> Self {
        Self::serving(|address, _| format!("server {{ listen {address}; location / {{ return 200 {address}; }} }}"))
            .await
    }

    /// One with what the function makes of its address and its folder within `http {}`.
    pub async fn serving(content: impl FnOnce(SocketAddr, &Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let at = dir.path().display();
        let content = content(address, dir.path());
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 1024; }}
             http {{ access_log off; keepalive_requests 1000000;
               client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};
               {content} }}"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let process = spawn(&dir);
        let nginx = Self { address, dir, process };
        nginx.listening().await;
        nginx
    }

    async fn listening(&self) {
        eventually("nginx listens", || async { TcpStream::connect(self.address).await.is_ok() }).await;
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub async fn restart(&mut self) {
        self.process = spawn(&self.dir);
        self.listening().await;
    }
}

fn spawn(dir: &TempDir) -> Process {
    let nginx = if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    Process::spawn("nginx", dir.path(), Command::new(nginx).arg("-c").arg(dir.path().join("nginx.conf")))
}
