"""Whether memory grows with the number of uploads."""

from __future__ import annotations

from bench.client import tus
from bench.client.wire import MIB
from bench.rows.base import Metric, Row, Sample, Stage

SIZE = 10 * MIB


def growth(stage: Stage) -> Sample:
    """Resident memory after all uploads of 10 MiB beside that after the first ones; each is deleted when whole."""
    with stage.server.connect() as connection:

        def upload(count: int) -> int:
            for _ in range(count):
                path = tus.create(connection, stage.server.peer.root, SIZE)
                tus.append(connection, path, 0, SIZE)
                tus.delete(connection, path)
            return stage.settled_kib()

        first = upload(stage.scale.growth_first)
        last = upload(stage.scale.growth - stage.scale.growth_first)
    return {"mib": (last - first) / 1024, "total_mib": last / 1024}


METRICS = (Metric("mib", "MiB grown after the first 100", 1), Metric("total_mib", "MiB resident", 1))
ROWS = (Row("growth", "1,000 uploads of 10 MiB", METRICS, growth, fresh=True, only_ours=True, rounds=1),)
