"""What this server allows: the settings that decide about requests, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

CHECKSUM_ALGORITHMS = ("sha1", "sha256", "sha512", "md5", "crc32")  # T85; best known first


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes, periods are seconds; None means without a limit.

    `extensions` are names of Tus-Extension in their order, computed from what the storage can do and what is
    switched on (T128), never written by hand.
    """

    extensions: tuple[str, ...]
    base_path: str = "/files/"
    max_size: int | None = None
    max_metadata: int = 16 << 10
    max_concat: int = 64 << 10
    max_partials: int = 1000
    expire_after: float | None = None  # sliding, unfinished uploads only (T78, T79)
    expired_status: int = 410  # or 404 (T81)
    downloads: bool = True
