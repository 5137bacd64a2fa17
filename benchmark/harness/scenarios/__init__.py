"""What is measured: one module each, whose docstring says how. `run(bench)` does it."""

import importlib
import pkgutil
from types import ModuleType

# The order in which they run and are reported; what counts most comes first.
ORDER = (
    "instructions",
    "full",
    "bare",
    "grpc",
    "connections",
    "routes",
    "nodes",
    "visibility",
    "scaling",
    "tls",
    "bodies",
    "plugins",
)


def names() -> list[str]:
    """All that there are, in order."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    assert found == set(ORDER), found ^ set(ORDER)
    return list(ORDER)


def module(name: str) -> ModuleType:
    """The module of a scenario."""
    return importlib.import_module(f"{__name__}.{name}")
