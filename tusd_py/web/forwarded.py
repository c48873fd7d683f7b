"""Who asks, and under which URL clients see this server: forwarded fields count only from trusted proxies (P4).

A bad forwarded field never makes a request fail: it is ignored, and where no host is known at all, Location is a path,
which every known client resolves (T54).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from tusd_py.web.request import Request

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")  # no dot segments
_FORWARDED = re.compile(r'\s*(host|proto|for|by)\s*=\s*(?:"([^"\\]*)"|([^",;\s]*))\s*(?:;|$)', re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_UNIX = ("", None)  # what a Unix socket has for a peer: whoever reaches it is a local proxy

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Seen:
    """How the client sees the server: parts that are not known are None, the prefix is empty or begins with a slash."""

    scheme: str | None = None
    host: str | None = None
    prefix: str = ""


class Locations:
    """Makes the URLs of uploads."""

    def __init__(
        self, base_path: str, *, public_url: str | None, path_only: bool, trusted_proxies: Sequence[Network]
    ) -> None:
        self._base_path = base_path
        self._public = None if public_url is None else public_url.rstrip("/")
        self._path_only = path_only
        self._trusted = tuple(trusted_proxies)

    def url(self, request: Request, id: str) -> str:
        """The URL to tell for the upload `id` (T52, T54)."""
        if self._public is not None:
            return f"{self._public}{self._base_path}{id}"
        if self._path_only:
            return f"{self._base_path}{id}"
        return self._front(request) + self._base_path + id

    def _front(self, request: Request) -> str:
        """Scheme, host and prefix, or only the prefix where the host is not known."""
        if not self._trusted and request.protocol.peername not in _UNIX:
            return _direct("https" if request.protocol.ssl_context else "http", request.headers.get("Host"))
        seen = self._seen(request)
        scheme = seen.scheme or ("https" if request.protocol.ssl_context else "http")
        host = _valid_host(seen.host or request.headers.get("Host"))
        return (_direct(scheme, host) if host else "") + seen.prefix

    def client(self, request: Request) -> str:
        """The client's address, for the log: the nearest one that is not a trusted proxy."""
        peer = _peer(request)
        if (peer and not self._trusted) or not self._trusts(peer):
            return peer
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        for hop in reversed(hops):
            if not _is_address(hop):
                break
            if not self._trusts(hop):
                return hop
        return peer

    def _seen(self, request: Request) -> Seen:
        if not self._trusts(_peer(request)):
            return Seen()
        forwarded = request.headers.get("Forwarded")
        return _from_forwarded(forwarded) if forwarded is not None else _from_x_forwarded(request.headers)

    def _trusts(self, peer: str) -> bool:
        if peer in _UNIX:
            return True
        if not self._trusted or not _is_address(peer):
            return False
        address: IPv4Address | IPv6Address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=256)
def _direct(scheme: str, host: str | None) -> str:
    """What comes before the path, for clients that see the server at this host; empty if that is not one."""
    host = _valid_host(host)
    return "" if host is None else f"{scheme}://{_short(scheme, host)}"


def _peer(request: Request) -> str:
    peer = request.protocol.peername
    return peer[0] if isinstance(peer, tuple) else ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _from_forwarded(field: str) -> Seen:
    """RFC 7239; the first element is the one that the client's own proxy wrote."""
    found = {name.lower(): quoted or plain for name, quoted, plain in _FORWARDED.findall(field.partition(",")[0])}
    return Seen(_valid_scheme(found.get("proto")), _valid_host(found.get("host")))


def _from_x_forwarded(headers: Mapping[str, str]) -> Seen:
    def first(name: str) -> str | None:
        value = headers.get(f"X-Forwarded-{name}")
        return None if value is None else value.split(",")[0].strip()

    host, port, prefix = _valid_host(first("Host")), first("Port"), (first("Prefix") or "").rstrip("/")
    if host is not None and port is not None and port.isascii() and port.isdigit() and not _has_port(host):
        host = f"{host}:{port}"
    return Seen(_valid_scheme(first("Proto")), _valid_host(host), prefix if _PREFIX.fullmatch(prefix) else "")


def _valid_scheme(scheme: str | None) -> str | None:
    return scheme.lower() if scheme is not None and scheme.lower() in _DEFAULT_PORTS else None


def _valid_host(host: str | None) -> str | None:
    return host if host is not None and _HOST.fullmatch(host) else None


def _has_port(host: str) -> bool:
    return re.search(r":[0-9]+$", host.rpartition("]")[2]) is not None


def _short(scheme: str, host: str) -> str:
    return host.removesuffix(_DEFAULT_PORTS[scheme]) if _has_port(host) else host
