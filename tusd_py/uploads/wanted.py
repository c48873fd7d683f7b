"""Which uploads an operator means, as far as their records tell. Pure."""

from __future__ import annotations

from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tusd_py.protocol.fields import read_metadata
from tusd_py.upload import Kind, Upload


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that is given has to hold. Lengths are bytes, both included; an upload without a length is neither
    long nor short. Each of `metadata` is a key, which has to be there, or key=pattern, where * stands for any text and
    ? for any character of the value."""

    kind: Kind | None = None
    owner: str | None = None
    shortest: int | None = None
    longest: int | None = None
    metadata: Sequence[str] = ()

    @property
    def anything(self) -> bool:
        return self == Wanted()

    def __call__(self, upload: Upload) -> bool:
        return (
            self.kind in (None, upload.kind)
            and self.owner in (None, upload.owner)
            and self._has_length(upload.length)
            and (not self.metadata or self._has_metadata(metadata_of(upload) or {}))
        )

    def _has_length(self, length: int | None) -> bool:
        if self.shortest is None and self.longest is None:
            return True
        return (
            length is not None and (self.shortest or 0) <= length and (self.longest is None or length <= self.longest)
        )

    def _has_metadata(self, known: dict[str, str]) -> bool:
        for one in self.metadata:
            key, given, pattern = one.partition("=")
            if key not in known or (given and not fnmatchcase(known[key], pattern)):
                return False
        return True


def metadata_of(upload: Upload) -> dict[str, str] | None:
    """What the client said of it, as text; None if it said nothing, or what is no text."""
    if upload.metadata is None:
        return None
    try:
        return {key: value.decode() for key, value in read_metadata(upload.metadata).items()}
    except (UnicodeDecodeError, Base64Error):
        return None
