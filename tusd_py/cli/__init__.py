"""The command line: a file a command, no logic of their own.

Exit codes: 0, 1 for a failure, 2 for wrong usage or configuration, which is told in one sentence on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from tusd_py import __version__
from tusd_py.cli import check, manual, send, serve
from tusd_py.config import nearest
from tusd_py.errors import ConfigError, StartError

COMMANDS = {"serve": serve, "check": check, "manual": manual, "send": send}

EXAMPLES = """examples:
  tusd-py serve                                       uploads under http://127.0.0.1:1080/files/, data in ./data
  tusd-py serve --upload-dir /srv/uploads --max-size 10GiB --expire-after 3d
  tusd-py serve --host 0.0.0.0 --port 443 --tls-certificate chain.pem --tls-key key.pem
  TUSD_PY_LOG_FORMAT=json tusd-py serve --config /etc/tusd.toml
  tusd-py check --config /etc/tusd.toml               what is in effect, where it comes from, and does it work?
  tusd-py manual > tusd.toml                          a configuration file with every option explained
  tusd-py send film.mp4 photos/ http://127.0.0.1:1080/files/    and again, to go on after Ctrl-C or a lost network
  ffmpeg … | tusd-py send - https://uploads.example.org/files/
"""


class Parser(argparse.ArgumentParser):
    """Speaks one sentence where argparse would print the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of ending the process."""
        raise ConfigError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
            raise ConfigError(f"unknown command {argv[0]}; the nearest known one is {nearest(argv[0], [*COMMANDS])}")
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            name = unknown[0].partition("=")[0]
            known = [option for action in arguments.parser._actions for option in action.option_strings]  # noqa: SLF001  # argparse has no other way to list them
            raise ConfigError(f"unknown flag {name}; the nearest known one is {nearest(name, known)}")
        return arguments


def main(argv: Sequence[str] | None = None) -> int:
    try:
        arguments = _parser().parse(sys.argv[1:] if argv is None else argv)
        return int(arguments.run(arguments))
    except StartError as error:
        print(f"tusd-py: {error}", file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(
        prog="tusd-py",
        description="A resumable-upload server for any tus client.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tusd-py {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = str(command.__doc__)
        usage = f"tusd-py {name} [--flag value …]" if command is not manual else None
        sub = commands.add_parser(name, help=summary, description=summary, usage=usage, allow_abbrev=False)
        sub.set_defaults(run=command.run, parser=sub)
        command.arguments(sub)
    return parser
