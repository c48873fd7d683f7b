"""Streams: limits, digests, the polite end, and the ordinary way into a file (tusd_py/storage/body.py)."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.bodies import Script
from tusd_py.storage.base import Ending
from tusd_py.storage.body import (
    INLINE_BYTES,
    REST_AFTER_SLOW,
    SLOW_IN_A_ROW,
    SLOW_INLINE,
    VERY_SLOW_INLINE,
    Chunks,
    LoopGuard,
    Stream,
    write_at,
)
from tusd_py.threads import Pool

PIECES = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool("bytes", 2)
    yield pool
    pool.close()


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


async def collected(body: Stream) -> bytes:
    return b"".join([bytes(piece) async for piece in body])


async def poured(body: Stream) -> bytes:
    fd = os.memfd_create("target")
    try:
        moved = await body.pour(fd, 0)
        kept = os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
    assert moved == body.moved == len(kept)
    return kept


@given(PIECES, st.integers(0, 60), st.booleans(), st.booleans())
def test_limit(pieces: list[bytes], room: int, announced: bool, through_file: bool) -> None:
    """However a body is cut: what fits exactly is whole; what is too long ends so and never fills its room, unless
    there was none."""
    data = b"".join(pieces)

    async def run() -> None:
        pool = Pool("bytes", 1)
        body = Script(pool, *pieces, announced=len(data) if announced else None).at_most(room)
        kept = await (poured(body) if through_file else collected(body))
        pool.close()
        assert data.startswith(kept)
        if len(data) <= room:
            assert (kept, body.ended_by) == (data, None)
        else:
            assert body.ended_by is Ending.TOO_LONG
            assert len(kept) < max(room, 1)

    asyncio.run(run())


@given(PIECES, st.sampled_from(sorted(Ending, key=lambda ending: ending.value)), st.none() | st.integers(0, 200))
def test_early_end(pieces: list[bytes], ending: Ending, room: int | None) -> None:
    """However a body ends early, all that arrived within its room is kept, the byte that was held back too."""
    data = b"".join(pieces)

    async def run() -> None:
        pool = Pool("bytes", 1)
        body = Script(pool, *pieces, ending, b"never").at_most(room)
        kept = await poured(body)
        pool.close()
        if room is None or len(data) <= room:
            assert (kept, body.ended_by) == (data, ending)
        else:
            assert body.ended_by is Ending.TOO_LONG

    asyncio.run(run())


@given(PIECES)
def test_hash_order(pieces: list[bytes]) -> None:
    """The digest sees the bytes in the order in which they are kept, however they are cut."""

    async def run() -> None:
        pool = Pool("bytes", 2)
        for take in (collected, poured):
            digest = hashlib.sha1(usedforsecurity=False)
            kept = await take(Script(pool, *pieces).hashed(digest).at_most(500))
            assert digest.digest() == hashlib.sha1(kept, usedforsecurity=False).digest()
        pool.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, INLINE_BYTES, INLINE_BYTES + 1, 3 * INLINE_BYTES])
async def test_pour(pool: Pool, target: int, size: int) -> None:
    """Pieces below and above the inline size land at their offset, and nothing before it is touched."""
    pieces = [os.urandom(size) for _ in range(3)]
    os.pwrite(target, b"before", 0)
    digest = hashlib.sha256()
    for at, body in ((6, Chunks(pieces, pool, LoopGuard())), (6, Script(pool, *pieces).hashed(digest))):
        assert await body.pour(target, at) == 3 * size
        assert os.pread(target, 1 << 20, 0) == b"before" + b"".join(pieces)
    assert digest.digest() == hashlib.sha256(b"".join(pieces)).digest()


async def test_pour_through_threads(pool: Pool, target: int) -> None:
    """A loop guard that forbids inline writes changes nothing but the way."""
    guard = LoopGuard()
    guard.spent(0.0, 1e9)
    body = Chunks([b"one", b"two"], pool, guard)
    assert await body.pour(target, 0) == 6
    assert os.pread(target, 10, 0) == b"onetwo"


@pytest.mark.parametrize("size", [3, INLINE_BYTES + 1])
async def test_full_disk(pool: Pool, size: int) -> None:
    """No space left ends the body with FULL and raises nothing; nothing more is asked of the client."""
    fd = os.open("/dev/full", os.O_WRONLY)
    body = Script(pool, b"x" * size, b"more", announced=size + 4)
    assert await body.pour(fd, 0) == 0
    os.close(fd)
    assert (body.ended_by, body.moved) == (Ending.FULL, 0)


async def test_full_disk_with_a_byte_held_back(pool: Pool) -> None:
    """The byte that is held back belongs behind those that did not fit, so it is not written."""
    fd = os.open("/dev/full", os.O_WRONLY)
    body = Script(pool, b"hello").at_most(5)
    assert await body.pour(fd, 0) == 0
    os.close(fd)
    assert (body.ended_by, bytes(body._held_back)) == (Ending.FULL, b"o")


async def test_other_disk_errors(pool: Pool) -> None:
    """What is not a full disk is raised."""
    fd = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file"):
        await Chunks([b"hello"], pool, LoopGuard()).pour(fd, 0)
    os.close(fd)


def test_write_at_hashes_what_was_written() -> None:
    """A digest sees only bytes that are kept."""
    fd = os.open("/dev/full", os.O_WRONLY)
    digest = hashlib.sha256()
    assert write_at(fd, b"hello", 0, digest) == 0
    os.close(fd)
    assert digest.digest() == hashlib.sha256(b"").digest()


@pytest.mark.rule("T41")
async def test_let_go(pool: Pool, target: int) -> None:
    """The first who lets it go decides; a wait ends at once and what came is kept."""
    body = Script(pool, b"hello", asyncio.Event(), b"never", announced=10)
    pouring = asyncio.create_task(body.pour(target, 0))
    await body.waits.wait()
    body.let_go(Ending.REPLACED)
    body.let_go(Ending.STOPPING)
    assert await pouring == 5
    assert body.ended_by is Ending.REPLACED
    body.let_go(Ending.STOPPED)
    assert body.ended_by is Ending.REPLACED


async def test_let_go_before_the_first_byte(pool: Pool, target: int) -> None:
    """A body that is let go before anybody read it ends empty."""
    body = Script(pool, b"never", announced=5)
    body.let_go(Ending.STOPPING)
    assert await body.pour(target, 0) == 0
    assert body.ended_by is Ending.STOPPING


async def test_let_go_between_pieces(pool: Pool) -> None:
    """A body that is let go while a piece of it is being used ends behind that piece."""
    body = Script(pool, b"one", b"two", b"three", announced=11)
    kept = b""
    async for piece in body:
        kept += piece
        if kept == b"onetwo":
            body.let_go(Ending.STOPPED)
    assert (kept, body.ended_by) == (b"onetwo", Ending.STOPPED)


async def test_let_go_too_late(pool: Pool, target: int) -> None:
    """After the last byte nothing is let go: a complete body is not replaced."""
    body = Script(pool, b"hello", asyncio.Event(), announced=5)
    async for _ in body:
        body.let_go(Ending.REPLACED)
        assert body.at_hand
    assert body.ended_by is None
    chunks = Chunks([b"hello"], pool, LoopGuard())
    assert await chunks.pour(target, 0) == 5
    chunks.let_go(Ending.REPLACED)
    assert chunks.ended_by is None


async def test_progress(pool: Pool) -> None:
    """Progress counts what was given to the storage."""
    body = Script(pool, b"one", b"three")
    seen = [body.moved async for _ in body]
    assert seen == [0, 3]
    assert body.moved == 8


# The guard


def test_guard_rests_after_slow_ones() -> None:
    """Several slow calls in a row send the next ones through threads, for a while."""
    guard, now, slow = LoopGuard(), 100.0, 1.1 * SLOW_INLINE
    for _ in range(SLOW_IN_A_ROW - 1):
        guard.spent(now, now + slow)
    guard.spent(now, now)  # a quick one in between
    for _ in range(SLOW_IN_A_ROW - 1):
        guard.spent(now, now + slow)
        assert guard.allows(now)
    guard.spent(now, now + slow)
    assert not guard.allows(now + slow)
    assert not guard.allows(now + REST_AFTER_SLOW)
    assert guard.allows(now + slow + REST_AFTER_SLOW)


def test_guard_rests_after_a_very_slow_one() -> None:
    """One call that takes very long is enough."""
    guard = LoopGuard()
    guard.spent(100.0, 100.0 + 1.1 * VERY_SLOW_INLINE)
    assert not guard.allows(101.0)
