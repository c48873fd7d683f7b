"""Remove what has expired and what was left over, now."""

from __future__ import annotations

import argparse

from tusd_py.cli import flags


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run and what finds the folder."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    flags.add_folder(parser)
    flags.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments).settings
    from tusd_py.operating.reach import reached
    from tusd_py.operating.sweep import sweep
    from tusd_py.operating.telling import Teller

    with reached(settings) as api:
        return sweep(api, Teller(as_json=arguments.json), dry_run=arguments.dry_run)
