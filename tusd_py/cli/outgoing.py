"""What `send` is to send: the files behind the names given, and what is told of each."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tusd_py.errors import ConfigError

STANDARD_INPUT = "-"


class Outgoing(NamedTuple):
    """`path` None is standard input, whose size nobody knows."""

    name: str
    path: Path | None
    size: int | None
    metadata: Mapping[str, str]


def gather(names: Iterable[str], metadata: Mapping[str, str]) -> list[Outgoing]:
    """Files as they are, folders with all files below them. Raises ConfigError for what is not there."""
    found = [outgoing for name in names for outgoing in _behind(name, metadata)]
    if sum(outgoing.path is None for outgoing in found) > 1:
        raise ConfigError("standard input can be sent only once")
    return found


def _behind(name: str, metadata: Mapping[str, str]) -> Iterator[Outgoing]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield Outgoing("standard input", None, None, metadata)
    elif path.is_dir():
        yield from _below(path, metadata)
    elif path.is_file():
        yield _file(path, name, {"filename": path.name}, metadata)
    else:
        raise ConfigError(f"there is no file {name}")


def _below(folder: Path, metadata: Mapping[str, str]) -> Iterator[Outgoing]:
    """In the order of their names; folders behind symbolic links are not entered, so that there is no circle."""
    top = folder.resolve().name
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = f"{top}/{path.relative_to(folder).as_posix()}"
        yield _file(path, str(path), {"filename": path.name, "relativePath": relative}, metadata)


def _file(path: Path, name: str, own: Mapping[str, str], metadata: Mapping[str, str]) -> Outgoing:
    kind, _ = mimetypes.guess_type(path.name)
    told = {**own, **({"filetype": kind} if kind else {}), **metadata}
    return Outgoing(name, path, path.stat().st_size, told)
