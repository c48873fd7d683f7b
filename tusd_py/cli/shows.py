"""How `send` tells what it does: bars for a person, lines where there is no terminal, JSON for a program.

What is asked for (URLs, JSON) goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import NamedTuple, NoReturn, Protocol, TextIO

from tqdm import tqdm

from tusd_py.cli.outgoing import Outgoing
from tusd_py.client import Event, Moved, Report, Resumed, SendError, Waiting
from tusd_py.client.events import nobody

INTERRUPTED = "interrupted"
MOST_NAME = 30  # characters


class Outcome(NamedTuple):
    """How the upload of a file ended; without `code` it is finished. Sizes are bytes."""

    outgoing: Outgoing
    seconds: float
    url: str | None = None
    size: int | None = None
    kept: int = 0
    retries: int = 0
    code: str | None = None
    sentence: str = ""
    resumable: bool = False

    @property
    def finished(self) -> bool:
        return self.code is None

    @classmethod
    def failed(cls, outgoing: Outgoing, seconds: float, error: SendError) -> Outcome:
        resumable = error.resumable and outgoing.path is not None
        return cls(outgoing, seconds, code=error.code, sentence=str(error), resumable=resumable)

    @classmethod
    def interrupted(cls, outgoing: Outgoing, seconds: float) -> Outcome:
        resumable = outgoing.path is not None
        return cls(outgoing, seconds, code=INTERRUPTED, sentence="interrupted", resumable=resumable)


class Show(Protocol):
    def began(self, outgoing: Outgoing) -> Report:
        """A file is on its way: whom to tell what happens."""

    def ended(self, outcome: Outcome) -> None: ...

    def close(self, last_words: str) -> None:
        """All is over; the words are for a person."""


class Json:
    """An object a line, when a file has ended."""

    def began(self, outgoing: Outgoing) -> Report:
        return nobody

    def ended(self, outcome: Outcome) -> None:
        told: dict[str, object] = {"file": outcome.outgoing.name, "seconds": round(outcome.seconds, 3)}
        if outcome.finished:
            told |= {"state": "finished", "url": outcome.url, "size": outcome.size}
            told |= {"resumed_from": outcome.kept, "retries": outcome.retries}
        else:
            told |= {"state": "interrupted" if outcome.code == INTERRUPTED else "failed", "error": outcome.code}
            told |= {"message": outcome.sentence, "resumable": outcome.resumable}
        print(json.dumps(told), flush=True)

    def close(self, last_words: str) -> None: ...


class Lines:
    """Only what has ended, and what went wrong."""

    def __init__(self, several: bool, quiet: bool = False) -> None:
        self._several = several
        self._quiet = quiet

    def began(self, outgoing: Outgoing) -> Report:
        return partial(self._heard, outgoing)

    def ended(self, outcome: Outcome) -> None:
        name = outcome.outgoing.name
        if outcome.finished:
            self._say(f"{outcome.url}\t{name}" if self._several else f"{outcome.url}", sys.stdout)
        elif outcome.code != INTERRUPTED:
            self._say(f"tusd-py: {name}: {outcome.sentence}", sys.stderr)

    def close(self, last_words: str) -> None:
        if last_words:
            self._say(last_words, sys.stderr)

    def _heard(self, outgoing: Outgoing, event: Event) -> None:
        if isinstance(event, Waiting) and not self._quiet:
            self._say(f"{outgoing.name}: {event.why}; trying again in {event.pause:.1f} s", sys.stderr)

    def _say(self, line: str, stream: TextIO) -> None:
        print(line, file=stream, flush=True)


class Bars(Lines):
    """A bar for each file on its way, with rate and time left; above them one for all, where there are several."""

    def __init__(self, outgoing: list[Outgoing]) -> None:
        super().__init__(several=len(outgoing) > 1)
        self._bars: dict[int, tqdm[NoReturn]] = {}  # by the line of the terminal, 0 the upmost
        self._line_of: dict[int, int] = {}  # by the identity of what is sent
        self._all: tqdm[NoReturn] | None = None
        if self._several:
            total = sum(one.size or 0 for one in outgoing)
            self._all = self._bars[0] = _bar(f"{len(outgoing)} files", total, 0)

    def began(self, outgoing: Outgoing) -> Report:
        line = next(line for line in range(len(self._bars) + 1) if line not in self._bars)
        self._bars[line] = _bar(outgoing.name, outgoing.size, line)
        self._line_of[id(outgoing)] = line
        return super().began(outgoing)

    def ended(self, outcome: Outcome) -> None:
        self._bars.pop(self._line_of.pop(id(outcome.outgoing))).close()
        super().ended(outcome)

    def close(self, last_words: str) -> None:
        for bar in self._bars.values():
            bar.close()
        super().close(last_words)

    def _heard(self, outgoing: Outgoing, event: Event) -> None:
        bar = self._bars[self._line_of[id(outgoing)]]
        if isinstance(event, Resumed):
            self._moved(bar, event.kept, anew=True)
        elif isinstance(event, Moved):
            self._moved(bar, event.sent)
        super()._heard(outgoing, event)

    def _moved(self, bar: tqdm[NoReturn], to: int, anew: bool = False) -> None:
        """`anew`: these bytes were sent by an earlier run, so the rate does not count them."""
        for one in filter(None, (bar, self._all)):
            one.initial += to - bar.n if anew else 0
        if self._all is not None:
            self._all.update(to - bar.n)
        bar.update(to - bar.n)

    def _say(self, line: str, stream: TextIO) -> None:
        tqdm.write(line, file=stream)
        stream.flush()


def _bar(name: str, size: int | None, line: int) -> tqdm[NoReturn]:
    tqdm.monitor_interval = 0  # its thread would only guard against bars that are never updated
    return tqdm(
        desc=name if len(name) <= MOST_NAME else f"…{name[1 - MOST_NAME :]}",
        total=size,
        position=line,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
    )
