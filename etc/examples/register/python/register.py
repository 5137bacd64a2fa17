#!/usr/bin/env python3
"""Registers a service in etcd, by etcd's JSON API and Python's own library.

Copy the class; below it is a service that uses it.
"""

import base64
import hashlib
import http.server
import json
import logging
import os
import random
import signal
import threading
import time
import urllib.request


class Registration:
    """Keeps a node registered from start() until stop()."""

    def __init__(self, endpoints, service, upstream, weight=1, ttl=10, prefix="/my/cloud/"):
        self._endpoints = list(endpoints)
        self._ttl = ttl
        name = f"{service}.{hashlib.md5((service + upstream).encode()).hexdigest()}"
        self._key = f"{prefix}discovery/{name}"
        self._node = {"key": name, "service_name": service, "upstream": upstream, "weight": weight, "status": 1}
        self._lease = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        """Returns when the node is gone, or cannot be removed now and goes with its lease."""
        self._stopping.set()
        self._thread.join()

    def _run(self):
        failures = 0
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                if self._lease is None or not self._renew():
                    self._register()
                failures = 0
                pause = self._ttl / 3
            except (OSError, ValueError, KeyError) as error:
                logging.warning("not registered, trying again: %s", error)
                failures += 1
                # Not all services at the same time.
                pause = min(5.0, 0.2 * 2**failures) * random.uniform(0.5, 1)
        if self._lease is not None:
            try:
                self._call("lease/revoke", {"ID": self._lease})
            except (OSError, ValueError) as error:
                logging.warning("the node goes when its lease ends: %s", error)

    def _register(self):
        self._lease = None
        lease = self._call("lease/grant", {"TTL": self._ttl})["ID"]
        value = json.dumps({**self._node, "time": int(time.time() * 1000)})
        self._call("kv/put", {"key": _b64(self._key), "value": _b64(value), "lease": lease})
        self._lease = lease
        logging.info("registered %s", self._key)

    def _renew(self):
        answer = self._call("lease/keepalive", {"ID": self._lease})
        # A lease that has ended has no TTL.
        return int(answer["result"].get("TTL", 0)) > 0

    def _call(self, path, body):
        request = json.dumps(body).encode()
        for endpoint in list(self._endpoints):
            try:
                with urllib.request.urlopen(f"{endpoint}/v3/{path}", request, timeout=3) as answer:
                    return json.load(answer)
            except OSError as error:
                failed = error
                # The next call begins with the next endpoint.
                self._endpoints.append(self._endpoints.pop(0))
        raise failed


def _b64(text):
    return base64.b64encode(text.encode()).decode()


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from python\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    logging.basicConfig(level=logging.INFO)
    env = os.environ.get
    upstream = env("UPSTREAM", "127.0.0.1:8080")
    host, port = upstream.rsplit(":", 1)
    # Listen first: requests come as soon as the node is registered.
    server = http.server.ThreadingHTTPServer((host, int(port)), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    registration = Registration(
        env("ETCD", "http://127.0.0.1:2379").split(","),
        env("SERVICE", "demo1"),
        upstream,
        ttl=int(env("TTL", "10")),
        prefix=env("DATA_PREFIX", "/my/cloud/"),
    )
    registration.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    registration.stop()
    server.shutdown()


if __name__ == "__main__":
    main()
