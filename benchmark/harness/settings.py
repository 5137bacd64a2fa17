"""How long to measure and what with: all of it can be set in the environment."""

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / "benchmark" / "peers"
RESULTS = REPOSITORY / "benchmark" / "results"


def number(name: str, default: int) -> int:
    """A whole number of the environment."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"{name}={text} is no number above 0")
    return int(text)


def binary(name: str, default: str) -> Path:
    """A binary the environment may name; relative to the repository."""
    return REPOSITORY / os.environ.get(name, default)


@dataclass(frozen=True)
class Settings:
    """Read once, at the start."""

    rounds: int
    seconds: int
    connections: int
    gateway: Path
    gateway_pgo: Path
    bare: Path
    upstream: Path
    load: Path

    @classmethod
    def from_environment(cls) -> "Settings":
        """What is not set is quick: all scenarios together take less than half an hour."""
        folder = "target/release"
        return cls(
            rounds=number("ROUNDS", 3),
            seconds=number("SECONDS_EACH", 4),
            connections=number("CONNECTIONS", 16),
            gateway=binary("GATEWAY", "target/release/ws-cloud-gateway"),
            gateway_pgo=binary("GATEWAY_PGO", "target/dist/ws-cloud-gateway"),
            bare=binary("BARE", f"{folder}/bare"),
            upstream=binary("UPSTREAM", f"{folder}/bench-upstream"),
            load=binary("LOAD", f"{folder}/bench-load"),
        )
