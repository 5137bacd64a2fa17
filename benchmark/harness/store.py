"""What the gateway has in its store: objects as services and operators write them (see README)."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import ports
from .errors import BenchmarkError

Entry = tuple[str, dict]

GRPC_METHOD = "/bench.Echo/Unary"
SHARED_REWRITE = "^/api/v[0-9]+/service-[0-9]+/"
REWRITE = {"rewrite_url_regex": "^/innerapi/(.*)$", "rewrite_replace": "/$1"}


def route(key: str, prefix: str, service: str, **fields: object) -> Entry:
    """A route that forwards, and what else is said of it."""
    return f"routes/{key}", {"prefix": prefix, "service_name": service, "protocol": "http", "status": 1, **fields}


def node(service: str, address: str, weight: int = 1) -> Entry:
    """A node of a service, under the key the first gateway gave it."""
    digest = hashlib.md5(f"{service}{address}".encode(), usedforsecurity=False).hexdigest()
    fields = {"service_name": service, "upstream": address, "weight": weight, "status": 1}
    return f"discovery/{service}.{digest}", fields


def nodes() -> list[Entry]:
    """The two nodes, and the one for gRPC."""
    two = [node("hello", f"127.0.0.1:{port}") for port in (ports.NODE1, ports.NODE2)]
    return [*two, node("grpc", f"127.0.0.1:{ports.GRPC}")]


def bare() -> list[Entry]:
    """Routes that merely forward."""
    return [
        route("all", "/*", "hello"),
        route("grpc", "/bench.Echo/*", "grpc", protocol="grpc"),
        *nodes(),
    ]


def full() -> list[Entry]:
    """Routes with all that a request usually needs."""
    return [
        route("hello", "/innerapi/hello/*", "hello", plugins=["discovery", "tracing", "rewrite"], props=REWRITE),
        route("grpc", "/bench.Echo/*", "grpc", protocol="grpc", plugins=["discovery", "tracing"]),
        *nodes(),
    ]


def many_routes(count: int, own_rewrites: bool = False) -> Iterator[Entry]:
    """Routes as wrk.lua asks for them."""
    for number in range(count):
        yield one_of_many(number, own_rewrites)
    yield from nodes()


def one_of_many(number: int, own_rewrite: bool = False, remark: str = "") -> Entry:
    """A route of `many_routes`. The rewrite is the same for all, or says what only this route's can."""
    prefix = prefix_of(number)
    props = {"rewrite_url_regex": f"^{prefix}" if own_rewrite else SHARED_REWRITE, "rewrite_replace": "/"}
    plugins = ["discovery", "tracing", "rewrite"]
    return route(f"{number:06}", f"{prefix}*", "hello", plugins=plugins, props=props, remark=remark)


def prefix_of(number: int) -> str:
    """As in wrk.lua."""
    return f"/api/v{number % 7}/service-{number}/"


def many_nodes(service: str, count: int, port: int, weight: int = 1) -> Iterator[Entry]:
    """Nodes at as many addresses of the loopback network, all on one port."""
    for number in range(count):
        yield node(service, f"127.0.{number // 250}.{number % 250 + 1}:{port}", weight)


def fill(gateway: Path, folder: Path, place: str, entries: Iterable[Entry]) -> None:
    """Puts all of it into a store that no gateway uses yet."""
    source = folder / "store.jsonl"
    with source.open("w") as out:
        out.write(json.dumps({"format": "ws-cloud-gateway store", "version": 1}) + "\n")
        for key, fields in entries:
            out.write(json.dumps({"key": key, "value": json.dumps(fields)}) + "\n")
    command = [gateway, "store", "copy", "--from", f"file:{source}", "--to", place]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"the store cannot be filled: {done.stderr.strip() or done.stdout.strip()}")
