"""The ports of a run: fixed, so that a config can be read and tried by hand, and looked at before use."""

import socket
from dataclasses import dataclass

from .errors import BenchmarkError

NODE1, NODE2, GRPC = 18071, 18072, 18073
MANY_NODES = 18074
ETCD, ETCD_PEER = 18160, 18161


@dataclass(frozen=True)
class Ports:
    """Ten in a row for each peer."""

    first: int

    @property
    def http(self) -> int:
        """HTTP/1.1."""
        return self.first

    @property
    def h2c(self) -> int:
        """HTTP/2 without TLS: gRPC."""
        return self.first + 1

    @property
    def tls(self) -> int:
        """HTTP/1.1 over TLS."""
        return self.first + 2

    @property
    def admin(self) -> int:
        """The gateway's Admin API."""
        return self.first + 3

    @property
    def status(self) -> int:
        """The gateway's health and metrics."""
        return self.first + 4


def must_be_free(*ports: int) -> None:
    """A port in use is said before anything starts: else the wrong program would be measured."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as e:
                raise BenchmarkError(f"port {port} is in use: end what listens there (ss -ltnp), or wait") from e
