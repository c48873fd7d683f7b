"""The command line: a file a command, no logic of their own.

Exit codes: 0, 1 for a failure, 2 for wrong usage or configuration, which is told in one sentence on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tusd_py import __version__
from tusd_py.cli import backup, check, manual, restore, send, serve, sweep, uploads
from tusd_py.config import nearest
from tusd_py.errors import CommandError, ConfigError, StartError
from tusd_py.upload import is_id

COMMANDS = {
    "serve": serve,
    "send": send,
    "uploads": uploads,
    "sweep": sweep,
    "backup": backup,
    "restore": restore,
    "check": check,
    "manual": manual,
}

EXAMPLES = """examples:
  tusd-py serve                                       uploads under http://127.0.0.1:1080/files/, data in ./data
  tusd-py serve --upload-dir /srv/uploads --max-size 10GiB --expire-after 3d
  tusd-py serve --host 0.0.0.0 --port 443 --tls-certificate chain.pem --tls-key key.pem
  TUSD_PY_LOG_FORMAT=json tusd-py serve --config /etc/tusd.toml
  tusd-py check --config /etc/tusd.toml               what is in effect, where it comes from, and does it work?
  tusd-py uploads list --state receiving --older-than 7d
  tusd-py uploads terminate --metadata 'filename=*.tmp' --yes
  tusd-py backup /backup/tusd.db                      while the server runs
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
        arguments, unknown = self.parse_known_args([*map(_escaped, argv)] if argv[:1] == ["uploads"] else argv)
        if unknown and not unknown[0].startswith("-"):
            raise ConfigError(f"{unknown[0]} is too much; see {arguments.parser.prog} --help")
        if unknown:
            name = unknown[0].partition("=")[0]
            known = [option for action in arguments.parser._actions for option in action.option_strings]  # noqa: SLF001  # argparse has no other way to list them
            raise ConfigError(f"unknown flag {name}; the nearest known one is {nearest(name, known)}")
        return arguments


def _escaped(argument: str) -> str:
    """One id in 64 begins with a hyphen and looks like a flag; as a path it does not."""
    return f"/{argument}" if argument.startswith("-") and is_id(argument) else argument


def main(argv: Sequence[str] | None = None) -> int:
    try:
        arguments = _parser().parse(sys.argv[1:] if argv is None else argv)
        return int(arguments.run(arguments))
    except StartError as error:
        print(f"tusd-py: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"tusd-py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


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
        usage = f"tusd-py {name} [--flag value …]" if command in (serve, check) else None
        sub = commands.add_parser(name, help=summary, description=summary, usage=usage, allow_abbrev=False)
        sub.set_defaults(run=command.run, parser=sub)
        command.arguments(sub)
    return parser
