"""The answer to a GET: what is sent of a finished upload, under which header lines (RFC 9110 sections 13 to 15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tusd_py.protocol import conditions, ranges
from tusd_py.protocol.conditions import Fields, Validators
from tusd_py.protocol.dispositions import disposition, media_type
from tusd_py.protocol.fields import read_metadata
from tusd_py.protocol.ranges import Span
from tusd_py.protocol.replies import ALWAYS, Reply
from tusd_py.upload import Upload

Sender = Literal["server", "x-accel-redirect", "x-sendfile"]

# Whatever it is, no browser shows it as a page of ours or runs what is in it (G6). What a private cache keeps has to be
# asked about each time, for an upload can be terminated.
_GUARDED = (
    f"{ALWAYS}Content-Security-Policy: sandbox; default-src 'none'\r\n"
    "Cache-Control: private, no-cache\r\nAccept-Ranges: bytes\r\n"
)
_HANDED_OVER = {"x-accel-redirect": "X-Accel-Redirect", "x-sendfile": "X-Sendfile"}


@dataclass(frozen=True, slots=True)
class Offer:
    """How downloads are handed out. `types` are media types that are told as the client named them; `prefix` is where
    another sender finds the files, with the slash at its end."""

    types: frozenset[str] = frozenset()
    sender: Sender = "server"
    prefix: str = "/downloads/"


class Delivery(NamedTuple):
    """The reply, and what follows its head in this order: bytes as they are, and spans of the upload."""

    reply: Reply
    pieces: tuple[bytes | Span, ...] = ()

    @property
    def length(self) -> int:
        """Bytes after the head."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.stop - piece.start for piece in self.pieces)


def deliver(upload: Upload, headers: Fields, offer: Offer, boundary: Callable[[], str]) -> Delivery:
    """200, 206, 304, or what makes another server send it. Raises PreconditionFailed and RangeNotSatisfiable.

    `boundary` makes a text that no upload can be expected to contain.
    """
    size = upload.length or 0
    metadata = read_metadata(upload.metadata)
    named = f"Content-Disposition: {disposition(metadata)}\r\n"
    told = media_type(metadata, offer.types)
    if offer.sender != "server":
        return _handed_over(upload.id, offer, f"{_GUARDED}{named}Content-Type: {told}\r\n")
    validators = conditions.validators_of(upload)
    lines = f"{_GUARDED}{validators.lines}{named}"
    if conditions.is_known(headers, validators):
        return Delivery(Reply(304, lines))
    spans = _spans(headers, validators, size)
    if spans is None:
        return Delivery(Reply(200, f"{lines}Content-Type: {told}\r\n"), (Span(0, size),))
    if len(spans) == 1:
        where = f"Content-Type: {told}\r\nContent-Range: {_place(spans[0], size)}\r\n"
        return Delivery(Reply(206, lines + where), spans)
    mark = boundary()
    lines += f"Content-Type: multipart/byteranges; boundary={mark}\r\n"
    return Delivery(Reply(206, lines), _parts(spans, size, told, mark))


def _handed_over(id: str, offer: Offer, lines: str) -> Delivery:
    """Whoever sends it judges conditions and ranges too, by tags and dates of its own."""
    return Delivery(Reply(200, f"{lines}{_HANDED_OVER[offer.sender]}: {offer.prefix}{id}\r\n"))


def _spans(headers: Fields, validators: Validators, size: int) -> tuple[Span, ...] | None:
    field = headers.get("Range")
    if field is None or not conditions.range_counts(headers.get("If-Range"), validators):
        return None
    return ranges.requested(field, size)


def _parts(spans: tuple[Span, ...], size: int, told: str, mark: str) -> tuple[bytes | Span, ...]:
    """multipart/byteranges (RFC 9110 section 14.6)."""
    pieces: list[bytes | Span] = []
    for number, span in enumerate(spans):
        line = "\r\n" if number else ""
        head = f"{line}--{mark}\r\nContent-Type: {told}\r\nContent-Range: {_place(span, size)}\r\n\r\n"
        pieces += head.encode("ascii"), span
    return (*pieces, f"\r\n--{mark}--\r\n".encode("ascii"))


def _place(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size}"
