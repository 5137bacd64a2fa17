//! Configuration files: any text is read or refused, and what is read makes a data plane.

use std::cell::RefCell;
use std::io::{Seek, Write};
use std::path::PathBuf;

use ws_cloud_gateway::config::{self, StoreKind};
use ws_cloud_gateway::server::bare;

thread_local! {
    static FILE: RefCell<tempfile::NamedTempFile> = RefCell::new(tempfile::NamedTempFile::new_in(memory()).unwrap());
}

fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

pub fn run(bytes: &[u8]) {
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(bytes).unwrap();
        match config::load(file.path()) {
            Ok(mut config) => {
                // Neither are its files opened, nor the names in it resolved.
                config.log.access.output = "off".to_owned();
                config.store.kind = StoreKind::Embedded;
                config.tls.certificates.clear();
                config.tls.client_ca = None;
                let edge = bare::edge(&config, ws_cloud_plugin_standard::factories(), Vec::new(), super::env);
                drop(edge.expect("what is accepted works"));
            }
            // It shows the lines it is about.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
