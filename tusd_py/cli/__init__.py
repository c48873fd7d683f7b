"""The command line: a file a command, no logic of their own."""

from __future__ import annotations


def main() -> int:
    return 0
