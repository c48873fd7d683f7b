"""Every setting as a flag: --upload-dir for upload_dir, --x and --no-x for a switch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

from pydantic.fields import FieldInfo

from tusd_py.config import HEADINGS, Loaded, Metavar, Options, flag, load

T = TypeVar("T")
Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001  # argparse has no other name for it


def add(parser: argparse.ArgumentParser) -> None:
    """Add --config and a flag for each setting, under the headings of the manual."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration file; `tusd-py manual` prints one")
    opening = {first: heading for heading, first in HEADINGS.items()}
    defaults = Options().spelt()
    group = parser.add_argument_group()
    for key, field in Options.model_fields.items():
        if key in opening:
            group = parser.add_argument_group(opening[key])
        _add(group, key, field, f"{field.description} (default: {defaults[key]})")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add what finds the data folder, and so the server: the same settings that `serve` has."""
    group = parser.add_argument_group("the data folder")
    group.add_argument("--config", metavar="FILE", type=Path, help="the server's configuration file")
    _add(group, "upload_dir", Options.model_fields["upload_dir"], "the server's upload_dir, if not from there")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object a line")


def typed(read: Callable[[object], T]) -> Callable[[str], T]:
    """A reader of spelling.py as argparse wants it."""

    def reader(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from error

    return reader


def read(arguments: argparse.Namespace) -> Loaded:
    """The settings in effect with these arguments; raises ConfigError."""
    given = {key: value for key, value in vars(arguments).items() if key in Options.model_fields}
    flags = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    return load(flags, arguments.config)


def _add(group: argparse._ArgumentGroup, key: str, field: FieldInfo, help: str) -> None:
    if field.annotation is bool:
        group.add_argument(flag(key), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help)
    else:
        group.add_argument(flag(key), metavar=_metavar(field), default=argparse.SUPPRESS, help=help)


def _metavar(field: FieldInfo) -> str:
    named = [item.name for item in field.metadata if isinstance(item, Metavar)]
    return named[0] if named else "|".join(map(str, get_args(field.annotation)))
