"""A server of several processes whose workers lock uploads each for itself: what tests/proof/contest.py has to notice.

    python -m tests.proof.lockless --processes 3 --port 1080 …

It is put together here of the parts of the product, in which there is no such switch.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from tests.acceptance.server import Server
from tusd_py.locks.memory import MemoryLocks
from tusd_py.processes import worker
from tusd_py.sharing import Sharing
from tusd_py.surroundings import Surroundings

PROGRAM = "tests.proof.lockless"


class LocklessServer(Server):
    """The process that a test starts."""

    command = (PROGRAM,)


def each_for_itself(around: Surroundings) -> Sharing:
    return dataclasses.replace(Sharing.of(around), locks=MemoryLocks())


def main(arguments: Sequence[str]) -> int:
    if not arguments[0].startswith("--"):
        return worker.main(arguments, each_for_itself)
    from tusd_py.config import load
    from tusd_py.processes import parent

    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    settings = load({flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}, None, {}).settings
    return parent.run(settings, lambda: settings, PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
