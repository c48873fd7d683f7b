"""Locks of all processes of one host.

Inside a process MemoryLocks decides: first come, first served, without the kernel. Whoever's turn it is there takes the
kernel's lock (ranges.py), which almost always is free: two system calls a hold, no waiting. It is held only while a
request works, never between requests.

If another process has it, its slot is known, and a note asks it (post.py): the holder is called, comes to its end,
lets go and says so. The one who waits also looks again after 1, 2, 4, 5, 5 … ms, which covers notes that were lost and
holders that died; a holder that was stopped by SIGSTOP cannot be asked, and then patience ends as UploadLocked.

* A holder gives way only to those who came later, by the clock that all processes share: who waits from before it came
  would push out the one that has just won.
* Whether somebody writes is asked for by every HEAD, so a stamp answers it almost always (stamps.py): a writer changes
  the stamp of its upload as soon as it has the lock, and whoever found it free under a stamp need not ask the kernel
  again while the stamp is the same.
* Between processes it is not quite first come, first served: those who wait are told at once, and the quickest wins.
  But nobody starves behind a process with many requests: the lock is let go after each, and whoever came after
  somebody in another process does not try for as long as that one may need to be quicker.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from itertools import chain, repeat
from pathlib import Path

from tusd_py.errors import UploadLocked
from tusd_py.locks.base import StillWriting, WhenWanted
from tusd_py.locks.memory import MemoryLocks
from tusd_py.locks.post import Note, Post, Word
from tusd_py.locks.ranges import Ranges, key_of
from tusd_py.stamps import Stamps

PAUSES = (0.001, 0.002, 0.004)  # seconds between two looks, and then
PAUSE = 0.005
AFTER_YOU = 0.005  # seconds that one who came later leaves to another process
AT_REST = 10_000  # uploads of which a process remembers that nobody wrote to them
ASK_AGAIN = 20  # looks: a new process may have got the slot of the one that was asked


class HostLocks:
    """See locks/base.py. Open it in the process that uses it, on its event loop; it claims a slot of the folder."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, or StartError if there are too many processes."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.inside = MemoryLocks()
        self._ranges = Ranges(folder)
        self._writers = Stamps(folder / "writers")
        self._at_rest: dict[str, int] = {}  # by id, the stamp under which nobody held it
        self._post = Post(folder, self._ranges.slot, self._read)
        self._held: dict[int, _Hold] = {}  # by key, as everything here
        self._waiting: dict[int, _Hold] = {}
        self._askers: dict[int, dict[int, int]] = {}  # slot -> arrival, of a lock that is held
        self._promised: dict[int, int] = {}  # the earliest arrival elsewhere, of a lock that was just let go

    @property
    def slot(self) -> int:
        return self._ranges.slot

    def hold(self, id: str, *, when_wanted: WhenWanted | None, patience: float, looking: bool = False) -> _Hold:
        return _Hold(self, id, when_wanted, patience, looking)

    def is_held(self, id: str) -> bool:
        if self.inside.is_held(id):
            return True
        stamp = self._writers.of(id)  # before the kernel is asked: a writer that comes meanwhile makes it old
        if self._at_rest.get(id) == stamp:
            return False
        if self._ranges.holder(key_of(id)) is not None:
            return True
        if len(self._at_rest) >= AT_REST:
            self._at_rest.clear()
        self._at_rest[id] = stamp
        return False

    def count(self) -> int:
        """How many uploads are held, or waited for, by this process at this moment."""
        return self.inside.count()

    def close(self) -> None:
        """Let go of everything. What is still held is free for others from now on."""
        self._post.close()
        self._ranges.close()
        self._writers.close()

    # For a hold

    def take(self, hold: _Hold) -> bool:
        if taken := self._ranges.take(hold.key):
            self._held[hold.key] = hold
            if hold.writes:
                self._writers.change(hold.id)
        return taken

    def release(self, hold: _Hold) -> None:
        """Free the lock and tell those who asked for it."""
        del self._held[hold.key]
        self._ranges.release(hold.key)
        askers = self._askers.pop(hold.key, None)
        if askers is not None:
            self._promised[hold.key] = min(askers.values())
            for slot in askers:
                self._tell(slot, Word.FREE, hold.key)

    def left(self, hold: _Hold) -> None:
        """A hold is over; if no other request of this process wants the lock, a promise is not needed."""
        if self._promised and not self.inside.is_held(hold.id):
            self._promised.pop(hold.key, None)

    def goes_first(self, hold: _Hold) -> bool:
        """Whether somebody elsewhere, who came earlier, may take it first."""
        promised = self._promised.pop(hold.key, None)
        return promised is not None and promised < hold.arrival

    def holder(self, hold: _Hold) -> int | None:
        return self._ranges.holder(hold.key)

    def ask(self, slot: int, hold: _Hold) -> bool:
        word = Word.LOOK if hold.looking else Word.WANT
        return self._post.send(slot, Note(word, self.slot, hold.arrival, hold.key))

    async def answer(self, hold: _Hold, seconds: float) -> Word | None:
        """What the holder says, or None after so many seconds."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Word | None] = loop.create_future()
        hold.told, self._waiting[hold.key] = told, hold
        pause = loop.call_later(seconds, _settle, told, None)
        try:
            return await told
        finally:
            pause.cancel()
            self._waiting.pop(hold.key, None)

    # Notes from others

    def _read(self, note: Note) -> None:
        if note.word in (Word.FREE, Word.BUSY):
            if (waiting := self._waiting.get(note.key)) is not None:
                _settle(waiting.told, Word(note.word))
        elif (held := self._held.get(note.key)) is None:
            self._tell(note.slot, Word.FREE, note.key)
        elif note.word == Word.LOOK and not held.pushed(True):
            self._tell(note.slot, Word.BUSY, note.key)
        else:
            self._askers.setdefault(note.key, {})[note.slot] = note.arrival
            if note.word == Word.WANT and note.arrival > held.arrival:
                held.pushed(False)

    def _tell(self, slot: int, word: Word, key: int) -> None:
        self._post.send(slot, Note(word, self.slot, 0, key))


def _settle(told: asyncio.Future[Word | None], word: Word | None) -> None:
    if not told.done():
        told.set_result(word)


class _Hold:
    """One request's hold of one upload, good for one `async with`."""

    __slots__ = (
        "_early",
        "_inside",
        "_locks",
        "_patience",
        "_when_wanted",
        "arrival",
        "id",
        "key",
        "looking",
        "told",
        "writes",
    )

    told: asyncio.Future[Word | None]  # set only by one that waits

    def __init__(
        self, locks: HostLocks, id: str, when_wanted: WhenWanted | None, patience: float, looking: bool
    ) -> None:
        self.id = id
        self.key = key_of(id)
        self.arrival = time.monotonic_ns()
        self.looking = looking
        self.writes = when_wanted is not None  # all others are over soon, and told apart by what they change
        self._locks = locks
        self._when_wanted = when_wanted
        self._patience = patience
        self._early: bool | None = None  # whether it was wanted before it held the lock; None once it holds it
        mine = None if when_wanted is None else self.pushed
        self._inside: AbstractAsyncContextManager[None] = locks.inside.hold(
            id, when_wanted=mine, patience=patience, looking=looking
        )

    async def __aenter__(self) -> None:
        self._early = False
        try:
            await self._inside.__aenter__()
        except BaseException:
            self._locks.left(self)
            raise
        try:
            await self._take()
        except BaseException:
            await self._leave()
            raise
        early, self._early = self._early, None
        if early:
            self.pushed(False)

    async def __aexit__(self, *_: object) -> None:
        self._locks.release(self)
        await self._leave()

    def pushed(self, looking: bool) -> bool:
        """Somebody wants the lock, here or elsewhere; whether this one comes to its end."""
        if self._early is not None:  # it waits for another process, and is asked again once it has the lock
            self._early = self._early or not looking
            return not looking
        if self._when_wanted is None:
            return True
        if not self._when_wanted(looking) and looking:
            return False
        self._when_wanted = None
        return True

    async def _leave(self) -> None:
        await self._inside.__aexit__(None, None, None)
        self._locks.left(self)

    async def _take(self) -> None:
        if self._locks.goes_first(self):
            await self._locks.answer(self, AFTER_YOU)
        if not self._locks.take(self):
            await self._wait()

    async def _wait(self) -> None:
        """Until the lock is taken; whose it is may change meanwhile."""
        locks, asked = self._locks, None
        deadline = self.arrival + int(self._patience * 1e9)
        for look, pause in enumerate(chain(PAUSES, repeat(PAUSE))):
            slot = locks.holder(self)
            if slot is not None and (slot != asked or look % ASK_AGAIN == 0):
                asked = slot if locks.ask(slot, self) else None
            if (left := deadline - time.monotonic_ns()) <= 0:
                raise UploadLocked
            word = await locks.answer(self, min(pause, left / 1e9) if slot is not None else 0.0)
            if locks.take(self):
                return
            if word is Word.BUSY and self.looking:
                raise StillWriting
            if word is not None:
                asked = None
