#!/usr/bin/env python3
"""Memory of an idle connection: opens COUNT connections to the gateway, asks once on each, and
divides what its resident memory grew by. Usage: benchmark/idle.py [COUNT] [GATEWAY]"""

import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
gateway = sys.argv[2] if len(sys.argv) > 2 else "target/release/ws-cloud-gateway"
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

CONFIG = """
workers: 1
listeners: {http: ["127.0.0.1:18080"], h2c: []}
store: {embedded: {path: DIR/store.redb}}
snapshot: {enabled: false}
admin: {listen: null}
status: {listen: "127.0.0.1:18077"}
log: {access: {output: "off"}, error: {level: warn}}
"""


def resident(pid: int) -> int:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


def wait_ready() -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen("http://127.0.0.1:18077/readyz")
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("the gateway does not get ready")


with tempfile.TemporaryDirectory() as folder:
    config = pathlib.Path(folder, "gateway.yaml")
    config.write_text(CONFIG.replace("DIR", folder))
    process = subprocess.Popen([gateway, "run", "-c", str(config)], stdout=subprocess.DEVNULL)
    try:
        wait_ready()
        before = resident(process.pid)
        sockets = [socket.create_connection(("127.0.0.1", 18080)) for _ in range(count)]
        time.sleep(1)
        fresh = resident(process.pid)
        for client in sockets:
            client.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
            if not client.recv(4096).startswith(b"HTTP/1.1 404"):
                sys.exit("an answer is missing")
        time.sleep(1)
        used = resident(process.pid)
        print(f"{count} idle connections, RSS before: {before / 2**20:.1f} MiB")
        print(f"never used:          {(fresh - before) / count / 1024:.1f} KiB each")
        print(f"after one request:   {(used - before) / count / 1024:.1f} KiB each")
    finally:
        process.terminate()
        process.wait()
