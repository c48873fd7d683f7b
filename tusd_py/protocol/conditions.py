"""Conditional requests for the bytes of a finished upload (RFC 9110 section 13).

They never change, so the tag is strong, and so is the date: what was sent before with either is still the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from tusd_py.errors import PreconditionFailed
from tusd_py.protocol.fields import http_date, read_http_date
from tusd_py.upload import Upload

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


class Fields(Protocol):
    """Header fields, found by names in any case."""

    def get(self, key: str, /) -> str | None: ...
    def getall(self, key: str, default: tuple[str, ...], /) -> Iterable[str]: ...


class Validators(NamedTuple):
    """What tells one state of a resource from another; `modified` is whole seconds since the epoch."""

    tag: str
    modified: int

    @property
    def lines(self) -> str:
        """As header lines."""
        return f"ETag: {self.tag}\r\nLast-Modified: {http_date(self.modified)}\r\n"


def validators_of(upload: Upload) -> Validators:
    """An id is never given twice and finished bytes never change, so id and size name the bytes. They are hashed, for
    a page may be shown a tag that must not learn the URL."""
    named = hashlib.blake2b(f"{upload.id}:{upload.length}".encode("ascii"), digest_size=12)
    return Validators(f'"{named.hexdigest()}"', int(upload.created if upload.ended is None else upload.ended))


def is_known(headers: Fields, validators: Validators) -> bool:
    """Whether the client has these bytes already: 304, in the order of RFC 9110 section 13.2.2.

    Raises PreconditionFailed if it wants them only in another state than they are in.
    """
    if (wanted := _joined(headers, "If-Match")) is not None:
        if not _names(wanted, validators.tag, strongly=True):
            raise PreconditionFailed
    elif (since := _date(headers, "If-Unmodified-Since")) is not None and validators.modified > since:
        raise PreconditionFailed
    if (known := _joined(headers, "If-None-Match")) is not None:
        return _names(known, validators.tag, strongly=False)
    since = _date(headers, "If-Modified-Since")
    return since is not None and validators.modified <= since


def range_counts(if_range: str | None, validators: Validators) -> bool:
    """Whether a Range is to be obeyed: without If-Range, or if what the client has a part of is still this."""
    if if_range is None or if_range == validators.tag:
        return True
    return '"' not in if_range and read_http_date(if_range) == validators.modified


def _names(tags: str, tag: str, *, strongly: bool) -> bool:
    """Whether a list of tags, or `*`, has this one among it."""
    if tags.strip(" \t") == "*":
        return True
    return any(found == tag and not (strongly and weak) for weak, found in _TAG.findall(tags))


def _joined(headers: Fields, name: str) -> str | None:
    """A list may come in several fields."""
    values = tuple(headers.getall(name, ()))
    return ", ".join(values) if values else None


def _date(headers: Fields, name: str) -> int | None:
    value = headers.get(name)
    return None if value is None else read_http_date(value)
