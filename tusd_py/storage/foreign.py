"""Errors of the disk: foreign exceptions stop here (law 7)."""

from __future__ import annotations

import errno

from tusd_py.errors import StorageFull, TusError, Unavailable, UploadFailed
from tusd_py.storage.body import NO_SPACE

LOST = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # the file is not there, or not ours


class _Mapped:
    """`with mapped:` foreign exceptions stop here (law 7)."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise ours(error) from error


mapped = _Mapped()


def ours(error: OSError) -> TusError:
    if error.errno in LOST:
        return UploadFailed()
    if error.errno in NO_SPACE:
        return StorageFull()
    return Unavailable()
