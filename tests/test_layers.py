"""Who may import whom: the table of docs/architecture.md, held by reading the code."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EVERYTHING = ("",)

# folder or module -> what it may import of ours, beside itself. A name covers what is below it.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "instruments": (),
    "threads": (),
    "logs": (),
    "spelling": (),
    "stamps": (),
    "settings": ("spelling",),
    "config": ("errors", "settings", "spelling"),
    "upload": ("errors",),
    "database": ("errors", "instruments", "threads", "transactions", "migrations", "pace"),
    "transactions": ("errors", "migrations", "checkpoints"),
    "checkpoints": ("migrations",),
    "migrations": ("errors",),
    "turnstile": (),
    "pace": (),
    "protocol": ("errors", "upload"),
    "locks": ("errors", "upload", "stamps"),
    "storage": ("errors", "upload", "instruments", "threads", "stamps"),
    "records": ("errors", "upload", "database", "instruments", "threads", "stamps", "jobs.task", "hooks.events"),
    "hooks": ("errors", "upload", "database", "instruments", "threads", "jobs.task"),
    "jobs": ("errors", "upload", "database", "instruments", "threads", "storage.base"),
    "counters": ("errors",),
    "usage": (),
    "figures": (),
    "exposition": ("figures", "usage"),
    "metrics": (
        "errors",
        "upload",
        "hooks.events",
        "instruments",
        "counters",
        *("exposition", "figures"),
    ),  # the closed sets of its labels
    "client": ("errors", "protocol"),
    "uploads": (
        *("errors", "upload", "protocol", "hooks.events", "hooks.plugin", "instruments"),
        *("jobs.task", "jobs.base", "storage.base", "records.base", "locks.base"),
    ),
    "web": (
        *("errors", "upload", "protocol", "uploads", "metrics", "instruments", "threads", "logs"),
        *("storage.body", "storage.base", "records.base", "hooks.events", "hooks.outbox", "jobs.base"),
    ),
    "plugins": ("hooks", "jobs.task", "upload", "errors"),
    "datafolder": ("errors",),
    "process": ("errors",),
    "doors": ("datafolder", "errors", "process", "settings", "spelling"),
    "surroundings": ("datafolder",),
    "sharing": ("counters", "locks", "stamps", "surroundings", "turnstile"),
    "readiness": ("errors", "records.base", "storage.local"),
    "front": ("doors", "web"),
    "processes": (
        *("app", "counters", "datafolder", "doors", "errors", "front", "logs", "process", "settings", "sharing"),
        *("stamps", "surroundings", "turnstile", "web.crowded", "web.edge"),
    ),
    "alone": ("app", "datafolder", "doors", "errors", "logs", "process", "settings", "surroundings"),
    "operating": ("app", "datafolder", "doors", "errors", "migrations", "settings", "surroundings", "upload"),
    "app": EVERYTHING,
    "policies": ("errors", "protocol", "settings", "storage.base", "web"),  # the composition root's reading of settings
    "cli": EVERYTHING,
    "__main__": ("cli",),
    "__init__": (),
}

IMPURE = ("aiohttp", "asyncio", "os", "pathlib", "time", "logging", "socket", "sqlite3", "threading", "random")

SOURCES = sorted([*(ROOT / "tusd_py").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def layer(path: Path) -> str:
    """The row of the table that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "plugins" else parts[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in it, in functions and behind conditions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST) -> Iterator[str]:
    """What it imports of ours, without the package's name; `from tusd_py import __version__` is nobody's business."""
    for name in imports(tree):
        package, _, rest = name.partition(".")
        if package == "tusd_py" and rest != "__version__":
            yield rest


def covered(name: str, allowed: tuple[str, ...]) -> bool:
    return any(entry == "" or name == entry or name.startswith(f"{entry}.") for entry in allowed)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_table(path: Path) -> None:
    """A file imports its own folder and what the table allows, nothing else of ours."""
    row = layer(path)
    assert row in MAY_IMPORT, f"{row} has no row in the table"
    allowed = (row, *MAY_IMPORT[row])
    strays = [name for name in ours(ast.parse(path.read_text())) if not covered(name, allowed)]
    assert strays == []


def test_nobody_hides_an_import_from_the_table() -> None:
    """No import for the type checker only, and none by name at run time."""
    hidden = {"TYPE_CHECKING", "__import__", "import_module"}
    for path in SOURCES:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports(nodes[0])}
        assert names & hidden == set(), path


def test_configuration_is_known_to_the_command_line_only() -> None:
    """Everybody else is given values, so that nothing depends on where settings come from, or loads what reads them."""
    importers = {
        layer(path) for path in SOURCES for name in ours(ast.parse(path.read_text())) if covered(name, ("config",))
    }
    assert importers <= {"cli"}


@pytest.mark.parametrize("path", sorted((ROOT / "tusd_py" / "protocol").glob("*.py")), ids=lambda path: path.name)
def test_the_protocol_is_pure(path: Path) -> None:
    """No async, no I/O, no clock, no HTTP library."""
    tree = ast.parse(path.read_text())
    waits = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, waits)] == []
    assert [name for name in imports(tree) if name.split(".")[0] in IMPURE] == []


def test_the_wheel_holds_every_folder() -> None:
    """A new folder is named in pyproject.toml too, or it would be missing where tusd-py is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES if path.name == "__init__.py"}
    mapped = {"tusd_py.plugins", "tusd_py.manual"}
    assert set(project["tool"]["setuptools"]["packages"]) == folders - {"plugins"} | mapped
