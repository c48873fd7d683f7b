"""Put a backup in the place of the database, while neither server nor worker runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from tusd_py.cli import flags


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE and what finds the folder."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a copy that `tusd-py backup` made")
    flags.add_folder(parser)
    flags.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments).settings
    from tusd_py.operating.restore import restore, spelt, told
    from tusd_py.operating.telling import Teller

    restored = restore(settings.upload_dir, arguments.file)
    Teller(as_json=arguments.json).tell(told(restored), lambda _: spelt(restored))
    return 0
