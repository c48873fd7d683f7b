"""Concatenation of two partial uploads of 128 MiB, and `cp` of as many bytes on the same file system."""

from __future__ import annotations

import subprocess
import time

from bench.client import tus
from bench.client.wire import MIB, Connection, Failed
from bench.rows.base import Metric, Row, Sample, Stage

PART = 128 * MIB


def concatenation(stage: Stage) -> Sample:
    """Time of the POST that makes the final upload; beside it `cp` copies what it has made."""
    root = stage.server.peer.root
    with stage.server.connect() as connection:
        parts = [_part(connection, root) for _ in range(2)]
        start = time.perf_counter()
        final = tus.join(connection, root, parts)
        seconds = time.perf_counter() - start
        if (offset := tus.offset_of(connection, final)) != 2 * PART:
            raise Failed(f"HEAD: {offset} of {2 * PART} bytes are in the final upload")
        stage.must_store(2 * PART)
        tus.delete(connection, final)
        for path in parts:
            tus.discard(connection, path)
    return {"ms": seconds * 1000, "cp_ms": _copy_milliseconds(stage)}


def _part(connection: Connection, root: str) -> str:
    path = tus.create(connection, root, PART, "partial")
    tus.append(connection, path, 0, PART)
    return path


def _copy_milliseconds(stage: Stage) -> float:
    """After the uploads are gone, so that the copy too is written to pages that were used before."""
    source, copy = stage.place / "source", stage.place / "copy"
    with source.open("wb") as file:
        for _ in range(2 * PART // MIB):
            file.write(bytes(MIB))
    start = time.perf_counter()
    subprocess.run(["cp", str(source), str(copy)], check=True)
    seconds = time.perf_counter() - start
    source.unlink()
    copy.unlink()
    return seconds * 1000


METRICS = (Metric("ms", "ms"), Metric("cp_ms", "ms of `cp`"))
ROWS = (Row("concat", "concatenation of 2 x 128 MiB", METRICS, concatenation),)
