"""Bytes from one file into another without passing through Python."""

from __future__ import annotations

import errno
import os

from tusd_py.errors import UploadFailed

BLOCK = 256 << 20  # 256 MiB a hop: a descriptor is not needed by anybody else meanwhile


def copy_range(source: int, target: int, amount: int, at: int, to: int) -> int:
    """Copy inside the kernel, by reference where the file system can; returns the bytes copied, at least one."""
    try:
        copied = os.copy_file_range(source, target, amount, at, to)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.lseek(target, to, os.SEEK_SET)
        copied = os.sendfile(target, source, at, amount)
    if copied == 0:
        raise UploadFailed  # the source became shorter
    return copied
