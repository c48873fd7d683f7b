"""Print the manual: a configuration file with every option at its default."""

from __future__ import annotations

import argparse

from tusd_py import config


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> int:
    print(config.manual(), end="")
    return 0
