"""What can be tried before a server starts: each tries one thing and leaves nothing behind."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from tusd_py.process import how_many
from tusd_py.settings import Settings
from tusd_py.spelling import spelt_address, spelt_size

DESCRIPTORS_A_CONNECTION = 3  # its socket, its file, and a duplicate while it waits
DESCRIPTORS_BESIDE = 128  # database, pipes, libraries
EXPIRES_SOON = 14 * 86400.0  # seconds

CERTIFICATE_NOT_YET_VALID, CERTIFICATE_EXPIRED = 9, 10  # X509_V_ERR_… of OpenSSL


class Verdict(Enum):
    FINE = "ok"
    NOTE = "note"  # it works, but not as well as it could
    FAILED = "FAILED"


class Finding(NamedTuple):
    verdict: Verdict
    sentence: str


def all_of(settings: Settings) -> Iterator[Finding]:
    folder = _existing(settings.upload_dir)
    yield writable(settings.upload_dir, folder)
    yield free_space(folder, settings.free_space_reserve)
    yield splice(folder) if settings.zero_copy else Finding(Verdict.FINE, "zero_copy is switched off")
    if settings.unix_socket:
        yield writable(settings.unix_socket, _existing(settings.unix_socket.parent))
    else:
        yield bindable("port", settings.host, settings.port)
    if settings.ops_listen:
        yield bindable("ops_listen", *settings.ops_listen)
    if settings.tls_certificate and settings.tls_key:
        yield certificate(settings.tls_certificate, settings.tls_key)
    count = how_many(settings.processes)
    yield processes(settings.processes, count)
    yield open_files(settings.max_connections, count)


def writable(wanted: Path, folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tusd-py")
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(Verdict.FAILED, f"{wanted} cannot be written: {error.strerror}")
    return Finding(Verdict.FINE, f"{wanted} can be written" if wanted == folder else f"{wanted} can be created")


def free_space(folder: Path, reserve: int) -> Finding:
    free = shutil.disk_usage(folder).free
    verdict = Verdict.FINE if free > reserve else Verdict.FAILED
    return Finding(verdict, f"{_rounded(free)} are free, {spelt_size(reserve)} of it reserved")


def splice(folder: Path) -> Finding:
    """Send bytes from a socket through a pipe into a file of that folder, as the zero-copy way does."""
    if sys.platform != "linux":
        return Finding(Verdict.NOTE, "this system has no splice; bytes go through Python, which costs more CPU")
    near, far = socket.socketpair()
    reader, writer = os.pipe()
    try:
        with near, far, tempfile.TemporaryFile(dir=folder) as file:
            near.sendall(b"tusd-py")
            moved = os.splice(far.fileno(), writer, 7)
            os.splice(reader, file.fileno(), moved, offset_dst=0)
    except OSError as error:
        return Finding(
            Verdict.NOTE, f"splice into {folder} does not work ({error.strerror}); it costs more CPU without"
        )
    finally:
        os.close(reader)
        os.close(writer)
    return Finding(Verdict.FINE, f"splice into {folder} works")


def bindable(key: str, host: str, port: int) -> Finding:
    where = spelt_address((host, port))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return Finding(Verdict.FAILED, f"{key}: cannot listen on {where}: {error.strerror}")
    return Finding(Verdict.FINE, f"{key}: {where} is free")


def certificate(chain: Path, key: Path) -> Finding:
    """Serve a handshake to ourselves, trusting just this certificate: that proves the key, and tells the dates."""
    try:
        expires = _handshake(chain, key)
    except ssl.SSLCertVerificationError as error:
        why = {CERTIFICATE_EXPIRED: "has expired", CERTIFICATE_NOT_YET_VALID: "is not valid yet"}
        return Finding(Verdict.FAILED, f"{chain} {why.get(error.verify_code, f'is refused: {error.verify_message}')}")
    except ssl.SSLError as error:
        return Finding(Verdict.FAILED, f"{chain} and {key} do not work together: {error.reason or error}")
    except OSError as error:
        return Finding(Verdict.FAILED, f"{chain} or {key} cannot be read: {error.strerror}")
    days = (expires - time.time()) / 86400
    soon = expires - time.time() < EXPIRES_SOON
    return Finding(Verdict.NOTE if soon else Verdict.FINE, f"{chain} is valid for {days:.0f} more days")


def processes(wanted: int | None, count: int) -> Finding:
    if wanted is not None and wanted > count:
        return Finding(Verdict.NOTE, f"processes = {wanted} needs Linux; here one process serves")
    return Finding(Verdict.FINE, "one process serves" if count == 1 else f"a parent and {count} workers serve")


def open_files(connections: int, count: int) -> Finding:
    """Each process has a limit of its own, and serves its share of the connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = -(-connections // count) * DESCRIPTORS_A_CONNECTION + DESCRIPTORS_BESIDE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return Finding(Verdict.FINE, f"the open-file limit is enough for max_connections = {connections}")
    enough = max(0, hard - DESCRIPTORS_BESIDE) // DESCRIPTORS_A_CONNECTION * count
    return Finding(
        Verdict.NOTE, f"the open-file limit of {hard} is enough for about {enough} of {connections} connections"
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _rounded(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _handshake(chain: Path, key: Path) -> float:
    """When the certificate ends, in seconds since the epoch."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain, key, password=_no_password)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(chain)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for end in (client, server, client):
        _advance(end)
    ends = (client.getpeercert() or {}).get("notAfter")
    return ssl.cert_time_to_seconds(str(ends))


def _advance(end: ssl.SSLObject) -> None:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return


def _no_password() -> str:
    return ""  # an encrypted key is refused; without this OpenSSL would ask at the terminal
