"""The checksum algorithms of protocol/limits.py, each with an update() and a digest()."""

from __future__ import annotations

import hashlib
import zlib

from tusd_py.storage.base import Digest


class Crc32:
    """CRC-32 as four bytes, most significant first."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def new_digest(algorithm: str) -> Digest:
    """A fresh digest; `algorithm` is one that the protocol has let through."""
    if algorithm == "crc32":
        return Crc32()
    return hashlib.new(algorithm, usedforsecurity=False)
