"""One GET of a whole finished upload of 256 MiB."""

from __future__ import annotations

from bench import processes
from bench.client import tus
from bench.client.wire import MIB, Connection, Failed, pieces
from bench.rows.base import Metric, Row, Sample, Stage

NAME = "download"


def download(stage: Stage) -> Sample:
    """From the first byte of the request's head to the last one of the body, which is only counted."""
    size = stage.scale.patch_mib * MIB
    with stage.server.connect() as connection:
        path = _put(stage, connection, size)
        with processes.spending(stage.server.pid) as spent:
            received = connection.fetch(path)
        if received != size:
            raise Failed(f"GET: {received} of {size} bytes came")
        _remove(stage, connection, path)
    return {"rate": size / MIB / spent.seconds, "cpu": spent.cpu_seconds * 1024 * MIB / size}


def _put(stage: Stage, connection: Connection, size: int) -> str:
    """A finished upload, or a file for a server that takes no uploads; returns its path."""
    root = stage.server.peer.root
    if stage.server.peer.takes_uploads:
        path = tus.create(connection, root, size)
        tus.append(connection, path, 0, size)
        return path
    with (stage.server.data / NAME).open("wb") as file:
        file.writelines(pieces(size))
    return root + NAME


def _remove(stage: Stage, connection: Connection, path: str) -> None:
    if stage.server.peer.takes_uploads:
        tus.discard(connection, path)
    else:
        (stage.server.data / NAME).unlink()


METRICS = (Metric("rate", "MiB/s", more_is_better=True), Metric("cpu", "CPU-s/GiB", 2))
ROWS = (Row("download", "1 GET of 256 MiB", METRICS, download, many=True, by_any=True),)
