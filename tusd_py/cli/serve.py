"""Start the server."""

from __future__ import annotations

import argparse

from tusd_py.cli import flags
from tusd_py.config import Settings

arguments = flags.add


def run(arguments: argparse.Namespace) -> int:
    def reload() -> Settings:
        return flags.read(arguments).settings

    settings = reload()
    from tusd_py import app  # after the settings: a wrong one is told at once, whatever the server needs to load

    return app.run(settings, reload)
