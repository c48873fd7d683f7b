"""A body that ended early, and what its client is told: one table (law 2)."""

from __future__ import annotations

from tusd_py.errors import (
    Dropped,
    MaxSizeExceeded,
    ReadTimeout,
    ServerStopping,
    StorageFull,
    TusError,
    UploadInterrupted,
    UploadSizeExceeded,
    UploadStopped,
)
from tusd_py.storage.base import Ending

_ERRORS: dict[Ending, type[TusError]] = {
    Ending.DROPPED: Dropped,
    Ending.IDLE: ReadTimeout,
    Ending.REPLACED: UploadInterrupted,
    Ending.STOPPING: ServerStopping,
    Ending.STOPPED: UploadStopped,
    Ending.FULL: StorageFull,
}


def error_of(ending: Ending, length: int | None) -> TusError:
    """What became of a body; `length` is the upload's, which tells which limit a too long one met (T31, T32)."""
    if ending is Ending.TOO_LONG:
        return MaxSizeExceeded() if length is None else UploadSizeExceeded()
    return _ERRORS[ending]()
