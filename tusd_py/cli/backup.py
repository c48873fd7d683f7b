"""Write a consistent copy of the database, while the server runs or not."""

from __future__ import annotations

import argparse
from pathlib import Path

from tusd_py.cli import flags


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE, --overwrite and what finds the folder."""
    parser.add_argument("file", metavar="FILE", type=Path, help="where the copy goes")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    flags.add_folder(parser)
    flags.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments).settings
    from tusd_py.operating.backup import backup
    from tusd_py.operating.tables import human_size
    from tusd_py.operating.telling import Teller

    size = backup(settings.upload_dir, arguments.file, overwrite=arguments.overwrite)
    told = {"file": str(arguments.file), "bytes": size}
    Teller(as_json=arguments.json).tell(told, lambda _: f"{arguments.file}: {human_size(size)}")
    return 0
