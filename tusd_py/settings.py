"""What has been settled: the value of every option, plain and frozen.

config.py reads options and says what is wrong with them; the parts of the server, and each of its processes, are given
these. They are kept apart because a process that only needs the values need not load what reads and checks them, which
is a third of its memory. Sizes are bytes, periods seconds; None is "off" or "none".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from tusd_py.spelling import Address

# What SIGHUP takes over; everything else is fixed in sockets, threads and open files until a restart.
RELOADABLE = frozenset(
    (
        *("tls_certificate", "tls_key", "free_space_reserve", "max_size", "max_metadata", "max_concat", "max_partials"),
        *("downloads", "download_types", "download_sender", "download_prefix"),
        *("creation_defer_length", "termination", "checksum", "concatenation", "concatenation_unfinished"),
        *("expire_after", "expired_status", "keep_finished", "sweep_interval", "tombstones"),
        *("head_timeout", "keep_alive", "shutdown_timeout", "max_connections", "max_connections_per_client"),
        *("cors", "cors_allow_origins", "cors_allow_credentials", "cors_allow_headers", "cors_expose_headers"),
        *("cors_max_age", "api_tokens", "log_level"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """In the order of the manual, config/tusd.toml, which says what each means."""

    host: str
    port: int
    unix_socket: Path | None
    base_path: str
    public_url: str | None
    path_only_location: bool
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    tls_certificate: Path | None
    tls_key: Path | None

    upload_dir: Path
    durability: Literal["finish", "always", "os"]
    free_space_reserve: int
    zero_copy: bool
    byte_threads: int
    sync_threads: int

    max_size: int | None
    max_metadata: int
    max_concat: int
    max_partials: int
    downloads: bool
    download_types: tuple[str, ...]
    download_sender: Literal["server", "x-accel-redirect", "x-sendfile"]
    download_prefix: str
    creation_defer_length: bool
    termination: bool
    checksum: bool
    concatenation: bool
    concatenation_unfinished: bool

    expire_after: float | None
    expired_status: Literal[410, 404]
    keep_finished: float | None
    sweep_interval: float
    tombstones: float

    head_timeout: float
    idle_timeout: float
    keep_alive: float
    shutdown_timeout: float
    finish_wait: float
    minimum_rate: int
    max_connections: int
    max_connections_per_client: int

    cors: bool
    cors_allow_origins: tuple[str, ...]
    cors_allow_credentials: bool
    cors_allow_headers: tuple[str, ...]
    cors_expose_headers: tuple[str, ...]
    cors_max_age: float

    processes: int | None  # None is as many as there are cores to use
    ops_listen: Address | None
    api_tokens: tuple[str, ...] = field(repr=False)
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    event_loop: Literal["auto", "uvloop", "asyncio"]


KEYS = tuple(field.name for field in dataclasses.fields(Settings))


def reloaded(old: Settings, new: Settings) -> tuple[Settings, Sequence[str]]:
    """The settings to go on with, and the names of those that differ but need a restart."""
    changed = [key for key in KEYS if getattr(old, key) != getattr(new, key)]
    waiting = [key for key in changed if key not in RELOADABLE or _switches_tls(key, old, new)]
    return dataclasses.replace(new, **{key: getattr(old, key) for key in waiting}), waiting


def _switches_tls(key: str, old: Settings, new: Settings) -> bool:
    """TLS as such cannot be switched on or off under connections that are open."""
    return key in ("tls_certificate", "tls_key") and (getattr(old, key) is None or getattr(new, key) is None)
