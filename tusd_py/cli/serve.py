"""Start the server."""

from __future__ import annotations

import argparse

from tusd_py.cli import flags
from tusd_py.config import Settings

arguments = flags.add


def run(arguments: argparse.Namespace) -> int:
    from tusd_py import app

    def reload() -> Settings:
        return flags.read(arguments).settings

    return app.run(reload(), reload)
