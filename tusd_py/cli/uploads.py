"""List, show and delete uploads."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable

from tusd_py.cli import flags
from tusd_py.operating import uploads
from tusd_py.operating.api import Api
from tusd_py.operating.telling import Teller, agreement
from tusd_py.spelling import duration, size
from tusd_py.upload import Kind, State

Act = Callable[[Api, Teller, argparse.Namespace], int]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add list, show and terminate."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    several = _command(commands, _list, "list", "List uploads, the newest first.")
    _filters(several)
    one = _command(commands, _show, "show", "Show everything that is known of uploads.")
    one.add_argument("ids", metavar="ID", nargs="+", help="an upload, or its URL")
    end = _command(
        commands, _terminate, "terminate", "Delete uploads, finished or not: those named, or those the filters mean."
    )
    end.add_argument("ids", metavar="ID", nargs="*", help="an upload, or its URL")
    end.add_argument("--yes", action="store_true", help="do not ask before several are deleted")
    _filters(end)


def run(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments).settings
    from tusd_py.operating.reach import reached  # it loads the server, which a wrong setting should not wait for

    with reached(settings) as api:
        return int(arguments.act(api, Teller(as_json=arguments.json), arguments))


def _list(api: Api, teller: Teller, arguments: argparse.Namespace) -> int:
    return uploads.list_uploads(api, teller, _meant(arguments), time.time())


def _show(api: Api, teller: Teller, arguments: argparse.Namespace) -> int:
    return uploads.show_uploads(api, teller, arguments.ids)


def _terminate(api: Api, teller: Teller, arguments: argparse.Namespace) -> int:
    agreed = (lambda _: True) if arguments.yes else agreement
    return uploads.terminate(api, teller, arguments.ids, _meant(arguments), time.time(), agreed)


def _meant(arguments: argparse.Namespace) -> uploads.Filters:
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(uploads.Filters)}
    return uploads.Filters(**given | {"metadata": tuple(arguments.metadata)})


def _command(commands: flags.Commands, act: Act, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    parser.set_defaults(act=act, parser=parser)
    flags.add_folder(parser)
    flags.add_json(parser)
    return parser


def _filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters, all of which have to hold")
    group.add_argument("--state", choices=list(State), help="|".join(State), metavar="STATE")
    group.add_argument("--kind", choices=list(Kind), help="|".join(Kind), metavar="KIND")
    group.add_argument("--owner", metavar="NAME", help="whose they are")
    for name, meaning in (("older", "created longer ago than"), ("newer", "created within")):
        group.add_argument(
            f"--{name}-than", metavar="PERIOD", type=flags.typed(duration), help=f"{meaning} this, such as 7d"
        )
    for name, meaning in (("larger", "more"), ("smaller", "less")):
        group.add_argument(
            *(f"--{name}-than",),
            metavar="SIZE",
            type=flags.typed(size),
            help=f"{meaning} than this in all, such as 1GiB; if that is known",
        )
    group.add_argument(
        *("--metadata",),
        metavar="KEY[=PATTERN]",
        action="append",
        default=[],
        help="with this key, and a value like this, in which * is any text; may be repeated",
    )
