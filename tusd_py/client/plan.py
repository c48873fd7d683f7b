"""What is decided once for an upload: what the server offers, and how a file is cut. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from tusd_py.client.answers import Answer
from tusd_py.client.failures import NotOffered, Refused

CHECKED_CHUNK = 16 << 20  # bytes: what is lost when a connection is cut in a chunk with a checksum (T84)
SMALL = 256 << 10  # bytes: a file so small goes with its creation
LEAST_PART = 1 << 20  # bytes: below, another connection costs more than it brings
PREFERRED = ("sha256", "sha1", "sha512", "md5")


class Span(NamedTuple):
    """The bytes [start, stop) of a file."""

    start: int
    stop: int


class Offer(NamedTuple):
    """What a server says of itself; None where it says nothing."""

    extensions: frozenset[str] | None = None
    algorithms: tuple[str, ...] = ()
    max_size: int | None = None

    @classmethod
    def read(cls, answer: Answer) -> Offer:
        """From the answer to OPTIONS; anything but a tus server's own answer tells nothing."""
        if not 200 <= answer.status < 300 or "tus-version" not in answer.fields:
            return cls()
        return cls(
            frozenset(_listed(answer.fields.get("tus-extension", ""))),
            tuple(_listed(answer.fields.get("tus-checksum-algorithm", ""))),
            answer.number("tus-max-size"),
        )

    def demand(self, extension: str, purpose: str) -> None:
        """NotOffered if the server says what it has, and this is not in it."""
        if self.extensions is not None and extension not in self.extensions:
            raise NotOffered(f"the server does not offer {extension}, which {purpose} needs")

    def has(self, extension: str) -> bool:
        return self.extensions is not None and extension in self.extensions

    def algorithm(self) -> str:
        """The best one both sides know. A server that ignores checksums must not be believed to verify them (T90)."""
        usable = [name for name in PREFERRED if name in self.algorithms]
        if not self.has("checksum") or not usable:
            raise NotOffered("the server does not offer to verify checksums")
        return usable[0]

    def admit(self, length: int | None) -> None:
        """Refused if so many bytes are too many (T53): before one is sent."""
        if self.max_size is not None and length is not None and length > self.max_size:
            raise Refused(f"the server takes at most {self.max_size} bytes, and these are {length}", 413)


def spans(length: int, parts: int) -> tuple[Span, ...]:
    """Cut a file into at most so many parts of nearly equal size, none of them below LEAST_PART."""
    count = max(1, min(parts, length // LEAST_PART))
    edges = [length * index // count for index in range(count + 1)]
    return tuple(Span(start, stop) for start, stop in pairwise(edges))


def _listed(text: str) -> list[str]:
    return [name.strip().lower() for name in text.split(",") if name.strip()]
