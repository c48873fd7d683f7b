"""Kill the server under six writers, start it again on the same folder and compare every acknowledged byte.

    python -m tests.proof.crash --rounds 1000
    python -m tests.proof.crash --seed 17 --rounds 3
    python -m tests.proof.crash --processes 3       # and kill workers, one after the other, while the others go on

What the writers do follows from the seed; where in it the server dies is up to the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.server import Server
from tests.processes.family import workers
from tests.proof.ledger import Ledger
from tests.proof.writers import Client, Stubborn, Writer

WRITERS = 6
LONGEST = 1.5  # seconds that the writers have at most
LONGEST_WITH_WORKERS = 4.0
BETWEEN_WORKERS = 1.5  # seconds between two deaths of workers at most
POLITELY = 0.1  # how often the server is asked to stop, not killed
MOST_CARRIED = 60  # uploads that go into the next round


class Crash:
    """Rounds of crashes on one folder."""

    def __init__(self, server: Server, seed: str, *, with_workers: bool) -> None:
        self._server = server
        self._with_workers = with_workers
        self._seed = seed
        self._random = random.Random(seed)
        self._ledger = Ledger(server)
        self._client = Client(self._ledger)
        self.acts = 0
        self.compared = 0
        self.killed = 0

    def round(self, number: int) -> None:
        """Write, die, come back, settle; then some uploads are finished or terminated, the others go on next time."""
        writers = self._writers(f"{self._seed}/{number}")
        with ThreadPoolExecutor(WRITERS) as threads:
            runs = [threads.submit(writer.run) for writer in writers]
            self._let_live()
            self._end()
        for run in runs:
            run.result()
        self.acts += sum(writer.acts for writer in writers)
        self._server.restart()
        self.compared += len(self._ledger.entries)
        self._ledger.settle()
        self._go_on()
        self._ledger.settle()
        assert not self._server.trouble, self._server.trouble

    def _writers(self, seed: str) -> list[Writer]:
        open_ones = [sent for sent in self._ledger.entries if sent.concat is None and sent.length != sent.acknowledged]
        kind = Stubborn if self._with_workers else Writer
        return [kind(self._ledger, f"{seed}/{one}", open_ones[one::WRITERS]) for one in range(WRITERS)]

    def _let_live(self) -> None:
        """For a while; of several workers some die meanwhile, and are replaced."""
        pause = threading.Event()
        if not self._with_workers:
            pause.wait(self._random.uniform(0.02, LONGEST))
            return
        left = self._random.uniform(0.02, LONGEST_WITH_WORKERS)
        while left > 0:
            pause.wait(wait := min(left, self._random.uniform(0.0, BETWEEN_WORKERS)))
            left -= wait
            if left > 0 and (running := workers(self._server)):
                os.kill(self._random.choice(running), signal.SIGKILL)
                self.killed += 1

    def _end(self) -> None:
        if self._random.random() < POLITELY:
            status = self._server.terminate()
            assert status == 0, f"stopped with {status}"
        else:
            self._server.kill()

    def _go_on(self) -> None:
        for place, sent in enumerate(list(self._ledger.entries)):
            choice = self._random.random()
            if choice < 0.6 or place > MOST_CARRIED:
                self._client.terminate(sent)
            elif choice < 0.75:
                self._client.finish(sent)


def crash(rounds: int, seed: str, *options: str, folder: Path | None = None, processes: int = 1) -> Crash:
    """So many rounds; a broken promise is an AssertionError that names the seed. The folder of a failure stays."""
    server = Server(*options, "--processes", str(processes), folder=folder)
    crashes = Crash(server, seed, with_workers=processes > 1)
    for number in range(rounds):
        try:
            crashes.round(number)
        except BaseException as error:
            server.kill()
            error.add_note(f"seed {seed}, round {number}, {' '.join(options)}; the folder: {server.folder}")
            raise
    server.remove()
    return crashes


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000), help="to play the same again")
    parser.add_argument("--durability", default="finish", choices=("finish", "always", "os"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="an empty data folder, on the file system in question")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    done = crash(
        chosen.rounds, chosen.seed, "--durability", chosen.durability, folder=chosen.folder, processes=chosen.processes
    )
    killed = f", {done.killed} workers killed" if done.killed else ""
    acts = f"{done.acts} acts of the writers, {done.compared} uploads compared"
    print(f"{chosen.rounds} rounds{killed}, {acts}: nothing lost")


if __name__ == "__main__":
    main(sys.argv[1:])
