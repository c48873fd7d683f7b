"""The service against a model, whatever happens in whatever order, on memory and on disk.

The model knows three things of an upload: its bytes, its length and its state. Everything that the service answers,
raises and keeps has to follow from them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tests.uploads.world import UNFINISHED, DiskWorld, World, digest_of, opened, restart
from tusd_py.errors import (
    ChecksumMismatch,
    Dropped,
    InvalidConcat,
    MismatchedOffset,
    ModifyFinal,
    ReadTimeout,
    TusError,
    UploadExpired,
    UploadFailed,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.hooks.events import UploadFinished
from tusd_py.storage.base import Ending
from tusd_py.upload import Kind, State
from tusd_py.uploads.swept import Swept

T = TypeVar("T")
DATA = st.binary(max_size=40)
PERIOD = UNFINISHED.expire_after or 0.0
ENDINGS = {Ending.DROPPED: Dropped, Ending.IDLE: ReadTimeout}


@dataclass(eq=False)
class Known:
    """An upload as the model has it; `state` None: terminated."""

    id: str
    length: int | None
    created: float
    kind: Kind = Kind.REGULAR
    data: bytes = b""
    state: State | None = State.RECEIVING
    touched: float = 0.0
    partials: tuple[Known, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether it is a final that waits for its partials."""
        return self.kind is Kind.FINAL and self.state is State.RECEIVING

    @property
    def offset(self) -> int:
        return sum(part.offset for part in self.partials) if self.waits else len(self.data)

    @property
    def known_length(self) -> int | None:
        """A final has one as soon as its partials have."""
        if not self.waits or self.length is not None:
            return self.length
        lengths = [part.length for part in self.partials if part.length is not None]
        return sum(lengths) if len(lengths) == len(self.partials) else None

    def is_over(self, now: float) -> bool:
        """A final lives as long as its partials are written to."""
        touched = max(part.touched for part in self.partials) if self.waits else self.touched
        return self.state is State.RECEIVING and now >= max(self.created, touched) + PERIOD

    def refusal(self, now: float) -> type[TusError] | None:
        """What every request for it is told."""
        if self.state is None:
            return UploadNotFound
        if self.state is State.FAILED:
            return UploadFailed
        return UploadExpired if self.state is State.EXPIRED or self.is_over(now) else None


@dataclass(frozen=True)
class Chunk:
    """What a client sends in one append."""

    data: bytes
    cut: int | None  # the body ends early behind so many bytes
    ending: Ending
    chunked: bool
    checksum: str  # "none", "right" or "wrong"
    off: int  # how far the offset is wrong
    more: int | None  # a deferred length is declared: so much more than this chunk
    too_long: bool  # nothing is clipped to the room there is


CHUNKS = st.builds(
    Chunk,
    DATA,
    st.none() | st.integers(0, 39),
    st.sampled_from(list(ENDINGS)),
    st.booleans(),
    st.sampled_from(["none", "none", "right", "wrong"]),
    st.sampled_from([0, 0, 0, 0, 1, -1, 1000]),
    st.none() | st.integers(0, 20),
    st.booleans(),
)


class AnyOrder(RuleBasedStateMachine):
    """Clients, time, sweeps and restarts."""

    kind = "memory"
    uploads: Bundle[Known] = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Known] = []
        self.folder = Path(tempfile.mkdtemp(prefix="tus-"))
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.world: World = self.run(self.stack.enter_async_context(opened(self.kind, self.folder, UNFINISHED)))

    def teardown(self) -> None:
        self.run(self.everything_is_there())
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    def act(self, work: Coroutine[object, object, T]) -> T | TusError:
        """What a request is answered, an error included, once all that it set off has come to rest."""

        async def settled() -> T | TusError:
            try:
                return await work
            except TusError as error:
                return error
            finally:
                await self.world.settle()

        self.world.clock.now += 1
        return self.run(settled())

    @property
    def now(self) -> float:
        return self.world.clock.now

    # What happens

    @rule(target=uploads, data=DATA, rest=st.none() | st.integers(0, 40), partial=st.booleans(), wrong=st.booleans())
    def create(self, data: bytes, rest: int | None, partial: bool, wrong: bool) -> object:
        length = None if rest is None else len(data) + rest
        checksum = digest_of(b"other than " + data) if wrong else None
        answer = self.act(self.world.create(length, data, partial=partial, checksum=checksum))
        if wrong:
            assert isinstance(answer, ChecksumMismatch)
            return multiple()
        assert isinstance(answer, str)
        known = Known(answer, length, self.now, Kind.PARTIAL if partial else Kind.REGULAR, data, touched=self.now)
        self.known.append(known)
        self.stamp(known)
        self.finish_if_complete(known)
        return known

    @rule(known=uploads, chunk=CHUNKS)
    def append(self, known: Known, chunk: Chunk) -> None:
        offset = max(0, known.offset + chunk.off)
        declared = offset + len(chunk.data) + chunk.more if known.length is None and chunk.more is not None else None
        length = known.length if declared is None else declared
        data = chunk.data if length is None or chunk.too_long else chunk.data[: max(0, length - known.offset)]
        cut = chunk.cut if chunk.cut is not None and chunk.cut < len(data) else None
        body = self.world.body(
            data[:cut],
            *([] if cut is None else [chunk.ending]),
            announced=None if chunk.chunked else len(data),
        )
        checksum = {"none": None, "right": digest_of(data), "wrong": digest_of(data + b"!")}[chunk.checksum]
        announced = None if chunk.chunked else len(data)
        answer = self.act(self.world.send(known.id, offset, body, announced, declared, checksum))
        self.expect_append(known, chunk, answer, data, cut, offset, declared)
        self.stamp(known)
        self.finish_if_complete(known)

    @rule(known=uploads)
    def inspect(self, known: Known) -> None:
        answer = self.act(self.world.inspect(known.id))
        refusal = known.refusal(self.now)
        if refusal is not None:
            assert type(answer) is refusal
            return
        assert not isinstance(answer, TusError)
        assert (answer.offset, answer.upload.state) == (known.offset, known.state)
        assert answer.upload.length == known.known_length

    @rule(target=uploads, parts=st.lists(uploads, min_size=1, max_size=3))
    def concatenate(self, parts: list[Known]) -> object:
        answer = self.act(self.world.concatenate(*(part.id for part in parts)))
        same = self.same_final(parts)
        if same is None and any(part.kind is not Kind.PARTIAL or not is_alive(part) for part in parts):
            assert isinstance(answer, InvalidConcat)
            return multiple()
        assert not isinstance(answer, TusError)
        if same is not None:
            assert answer.upload.id == same.id
            return multiple()
        lengths = [part.length for part in parts]
        length = None if None in lengths else sum(length or 0 for length in lengths)
        final = Known(answer.upload.id, length, self.now, Kind.FINAL, touched=self.now, partials=tuple(parts))
        self.known.append(final)
        self.join_if_ready(final)
        self.stamp(final)
        assert (answer.offset, answer.upload.length) == (final.offset, final.length)
        return final

    @rule(known=consumes(uploads))
    def terminate(self, known: Known) -> None:
        answer = self.act(self.world.terminate(known.id))
        refusal = known.refusal(self.now)
        if refusal is not None:
            assert type(answer) is refusal
            return
        assert answer is None
        known.state = None
        self.fail_finals(known)

    @rule(seconds=st.sampled_from([1, 300, 900, 1100]))
    def wait(self, seconds: int) -> None:
        self.world.clock.now += seconds

    @rule()
    def sweep(self) -> None:
        assert isinstance(self.act(self.world.sweep.round()), Swept)
        for known in self.known:  # oldest first, as the sweep does
            if known.is_over(self.now):
                known.state = State.EXPIRED
                self.fail_finals(known)

    @rule()
    def restart(self) -> None:
        self.run(restart(self.world))

    # What has to follow

    def expect_append(
        self,
        known: Known,
        chunk: Chunk,
        answer: int | TusError,
        data: bytes,
        cut: int | None,
        offset: int,
        declared: int | None,
    ) -> None:
        length = known.length if declared is None else declared
        expected = known.refusal(self.now)
        if expected is None and known.kind is Kind.FINAL:
            expected = ModifyFinal
        if expected is None and offset != known.offset:
            expected = MismatchedOffset
        if expected is None and length is not None and not chunk.chunked and len(data) > length - offset:
            expected = UploadSizeExceeded
        if expected is not None:
            assert type(answer) is expected
            return
        known.length = length
        self.receive(known, chunk, answer, data, cut)

    def receive(self, known: Known, chunk: Chunk, answer: int | TusError, data: bytes, cut: int | None) -> None:
        came = data[:cut]
        room = None if known.length is None else known.length - known.offset
        if known.state is State.FINISHED:
            assert answer == known.offset if not came else isinstance(answer, UploadSizeExceeded)
            return
        if room is not None and len(came) > room:
            assert isinstance(answer, UploadSizeExceeded)
            offset = self.run(self.world.offset(known.id))
            assert 0 <= offset - known.offset < max(1, room)
            assert chunk.checksum == "none" or offset == known.offset
            self.keep(known, data[: offset - known.offset], touched=True)
            return
        if chunk.checksum != "none":
            self.verify(known, chunk, answer, data, cut)
            return
        self.keep(known, came, touched=bool(came))
        if cut is not None and known.offset != known.length:
            assert type(answer) is ENDINGS[chunk.ending]
        else:
            assert answer == known.offset

    def verify(self, known: Known, chunk: Chunk, answer: int | TusError, data: bytes, cut: int | None) -> None:
        if cut is not None:
            assert type(answer) is ENDINGS[chunk.ending]
            self.keep(known, b"", touched=chunk.chunked and cut > 0)
        elif chunk.checksum == "wrong":
            assert isinstance(answer, ChecksumMismatch)
            self.keep(known, b"", touched=chunk.chunked and bool(data))
        else:
            self.keep(known, data, touched=bool(data))
            assert answer == known.offset

    def keep(self, known: Known, data: bytes, *, touched: bool) -> None:
        known.data += data
        if touched:
            known.touched = self.now

    def finish_if_complete(self, known: Known) -> None:
        if known.kind is Kind.FINAL or known.state is not State.RECEIVING or known.offset != known.length:
            return
        known.state = State.FINISHED
        for final in self.known:
            if known in final.partials:
                self.join_if_ready(final)

    def join_if_ready(self, final: Known) -> None:
        if final.waits and all(part.state is State.FINISHED for part in final.partials):
            final.data = b"".join(part.data for part in final.partials)
            final.length, final.state = len(final.data), State.FINISHED

    def fail_finals(self, partial: Known) -> None:
        for final in self.known:
            if final.waits and partial in final.partials:
                final.state = State.FAILED

    def same_final(self, parts: list[Known]) -> Known | None:
        made = [known for known in self.known if known.partials == tuple(parts) and is_alive(known)]
        assert len(made) <= 1
        return made[0] if made else None

    def stamp(self, known: Known) -> None:
        """The kernel's clock is not the test's."""
        if isinstance(self.world, DiskWorld) and self.world.path(known.id).exists():
            os.utime(self.world.path(known.id), (known.touched, known.touched))

    @invariant()
    def nothing_is_held(self) -> None:
        assert self.world.has_come_to_rest()

    @invariant()
    def finished_once(self) -> None:
        told = self.world.told(UploadFinished)
        assert len(told) == len(set(told))
        assert {known.id for known in self.known if known.state is State.FINISHED} <= set(told)

    async def everything_is_there(self) -> None:
        for known in self.known:
            record = await self.world.records.load(known.id)
            assert (record and record.state) == known.state
            if is_alive(known) and not known.waits:
                assert await self.world.content(known.id) == known.data


def is_alive(known: Known) -> bool:
    return known.state in (State.RECEIVING, State.FINISHED)


class OnDisk(AnyOrder):
    kind = "disk"


USUAL = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TestInMemory = AnyOrder.TestCase
TestInMemory.settings = USUAL
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(USUAL, max_examples=10)


class LongInMemory(AnyOrder):
    """The same for longer."""


class LongOnDisk(OnDisk):
    """The same for longer."""


TestLongInMemory = pytest.mark.slow(LongInMemory.TestCase)
TestLongInMemory.settings = settings(USUAL, max_examples=600, stateful_step_count=60)
TestLongOnDisk = pytest.mark.slow(LongOnDisk.TestCase)
TestLongOnDisk.settings = settings(USUAL, max_examples=200, stateful_step_count=60)
