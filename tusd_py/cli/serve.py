"""Start the server."""

from __future__ import annotations

import argparse

from tusd_py.cli import flags
from tusd_py.process import how_many
from tusd_py.settings import Settings

arguments = flags.add


def run(arguments: argparse.Namespace) -> int:
    def read_again() -> Settings:
        return flags.read(arguments).settings

    settings = read_again()
    # What the server needs is loaded after the settings, of which a wrong one is told at once, and as far as needed.
    if how_many(settings.processes) == 1:
        from tusd_py import alone

        return alone.run(settings, read_again)
    from tusd_py.processes import parent

    return parent.run(settings, read_again)
