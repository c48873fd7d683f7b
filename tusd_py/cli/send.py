"""Send files to a tus server, this one or another; what is interrupted goes on where it stopped."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from tusd_py import spelling
from tusd_py.errors import ConfigError, InvalidMetadata
from tusd_py.protocol.fields import write_metadata

BEARER_VARIABLE = "TUS_BEARER_TOKEN"
EXIT_CODES = """exit codes: 0 all is there; 1 something was refused; 2 wrong usage; 3 network or server failed for too
long, the same command goes on; 130 and 143 interrupted by Ctrl-C or SIGTERM, the same command goes on"""

T = TypeVar("T")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tusd-py send [--flag value …] FILE… URL"
    parser.epilog = EXIT_CODES
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file, a folder with all below it, - for stdin")
    parser.add_argument("url", metavar="URL", type=_of(_endpoint), help="where the server takes uploads")
    many = parser.add_argument_group("several at once")
    many.add_argument("--at-once", metavar="N", type=_of(_count), default=4, help="files at the same time (default: 4)")
    many.add_argument(
        "--parallel", metavar="N", type=_of(_count), default=1, help="parts of a file at the same time (default: 1)"
    )
    safe = parser.add_argument_group("over a bad network")
    safe.add_argument("--checksum", action="store_true", help="have the server verify every 16 MiB")
    safe.add_argument(
        "--chunk-size", metavar="SIZE", type=_of(_chunk), help="most bytes of a request (default: all that is left)"
    )
    safe.add_argument(
        "--retries", metavar="N", type=_of(_number), default=10, help="failures in a row that are endured (default: 10)"
    )
    safe.add_argument("--no-resume", action="store_true", help="start again, whatever an earlier run left")
    told = parser.add_argument_group("what the server is told")
    told.add_argument(
        "--metadata", metavar="KEY=VALUE", type=_of(_pair), action="append", default=[], help="may be given repeatedly"
    )
    told.add_argument(
        "--bearer", metavar="TOKEN", help=f"others may see it in the list of processes; better {BEARER_VARIABLE}, or:"
    )
    told.add_argument("--bearer-file", metavar="FILE", type=Path, help="a file whose first line is the token")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--json", action="store_true", help="an object a line on stdout for each file")
    shown.add_argument("--quiet", action="store_true", help="no bars, only URLs and failures")


def run(arguments: argparse.Namespace) -> int:
    from tusd_py.cli.outgoing import gather

    bearer = _bearer(arguments.bearer, arguments.bearer_file)
    outgoing = gather(arguments.files, dict(arguments.metadata))
    if not outgoing:
        raise ConfigError("there are no files in what was named")

    # The client is loaded once there is something for it to do.
    from tusd_py.cli.batch import Batch
    from tusd_py.cli.shows import Bars, Json, Lines, Show
    from tusd_py.client import Bookmarks, Options, Patience

    show: Show = Lines(len(outgoing) > 1, arguments.quiet)
    if arguments.json:
        show = Json()
    elif sys.stderr.isatty() and not arguments.quiet:
        show = Bars(outgoing)
    options = Options(
        parallel=arguments.parallel,
        checksum=arguments.checksum,
        chunk=arguments.chunk_size,
        bearer=bearer,
        patience=Patience(retries=arguments.retries),
    )
    bookmarks = None if arguments.no_resume else Bookmarks.of_user(keep_finished=len(outgoing) > 1)
    if bookmarks is not None:
        try:
            bookmarks.prepare()
        except OSError as error:
            print(f"tusd-py: an interrupted upload will have to start again: {error}", file=sys.stderr)
            bookmarks = None
    return Batch(arguments.url, outgoing, arguments.at_once, options, bookmarks, show).run()


def _of(read: Callable[[str], T]) -> Callable[[str], T]:
    """The same reader, whose ValueError becomes what argparse prints."""

    def reader(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return reader


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the last argument is the URL of a tus server, such as http://127.0.0.1:1080/files/")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise ValueError("allowed is a number from 1 to 999")
    return int(text)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("allowed is a number from 0 to 999999")
    return int(text)


def _chunk(text: str) -> int:
    size = spelling.size(text)
    if size < 1:
        raise ValueError("a request needs at least one byte")
    return size


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("allowed is KEY=VALUE")
    try:
        write_metadata({key: b""})
    except InvalidMetadata as error:
        raise ValueError(str(error)) from None
    return key, value


def _bearer(flag: str | None, file: Path | None) -> str | None:
    """The first of flag, file and environment; never told, not even when it is wrong."""
    token = flag or (_first_line(file) if file else os.environ.get(BEARER_VARIABLE))
    if token and not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("the bearer token may hold only visible ASCII characters")
    return token or None


def _first_line(file: Path) -> str:
    try:
        return file.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cannot read the bearer token from {file}") from None
