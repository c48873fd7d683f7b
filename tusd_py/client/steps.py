"""What a client does next, as values, and how each is put into a request. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tusd_py.protocol.fields import CHUNK_TYPE


@dataclass(frozen=True, slots=True)
class Create:
    """A new upload; `length` None is told later. Its first `size` bytes go with it."""

    method: ClassVar[str] = "POST"
    url: ClassVar[None] = None
    offset: ClassVar[int] = 0

    length: int | None
    size: int = 0

    @property
    def fields(self) -> dict[str, str]:
        told = {"Upload-Defer-Length": "1"} if self.length is None else {"Upload-Length": str(self.length)}
        return {**told, "Content-Type": CHUNK_TYPE} if self.size else told


@dataclass(frozen=True, slots=True)
class Ask:
    """How far did it get?"""

    method: ClassVar[str] = "HEAD"
    fields: ClassVar[dict[str, str]] = {}

    url: str


@dataclass(frozen=True, slots=True)
class Append:
    """`size` bytes from `offset`; `declares` is the length if it is told with them (T65)."""

    method: ClassVar[str] = "PATCH"

    url: str
    offset: int
    size: int
    declares: int | None = None

    @property
    def fields(self) -> dict[str, str]:
        told = {} if self.declares is None else {"Upload-Length": str(self.declares)}
        return {"Upload-Offset": str(self.offset), "Content-Type": CHUNK_TYPE, **told}


@dataclass(frozen=True, slots=True)
class More:
    """Nothing to do before the source tells more; what is before `offset` is not needed any more."""

    offset: int


@dataclass(frozen=True, slots=True)
class Done:
    url: str


Request = Create | Ask | Append
Step = Request | More | Done
