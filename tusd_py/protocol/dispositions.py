"""Under which name and type a finished upload is handed out. Both come from whoever uploaded it, and are not believed.

A download is an attachment (G6), named by RFC 6266. The name is one that every system can save: without folders,
control characters and marks that turn the direction of writing, so that `gpj.exe` cannot pass for a picture.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from urllib.parse import quote

LONGEST_NAME = 200  # bytes of UTF-8; file systems take 255, and browsers add to it
LONGEST_ENDING = 20  # characters of what is kept behind the last dot when a name is cut
ANYTHING = "application/octet-stream"

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # categories of Unicode
_JOINERS = "\u200c\u200d"  # are of category Cf too, but Persian and families of emoji are written with them
_EDGES = ". " + _JOINERS
_FORBIDDEN = re.compile(r'[<>:"|?*]')  # in names on Windows; slashes are gone by then
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
_ATTR_CHAR = "!#$&+.^`|"  # of RFC 8187, besides letters, digits and `-._~`, which quote never touches
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


def disposition(metadata: Mapping[str, bytes]) -> str:
    """The value of Content-Disposition (T61)."""
    name = file_name(_first(metadata, "filename", "name"))
    if not name:
        return "attachment"
    plain = _plain(name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe=_ATTR_CHAR)}"
    return f'attachment; filename="{plain}"{extended}'


def media_type(metadata: Mapping[str, bytes], allowed: Collection[str]) -> str:
    """The type that the client named, if it is one of `allowed` (where `image/*` stands for all images)."""
    named = _first(metadata, "filetype", "type").partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(named) and (named in allowed or f"{named.partition('/')[0]}/*" in allowed):
        return named
    return ANYTHING


def file_name(told: str) -> str:
    """A name that can be saved, as near to what was told as that goes; empty if nothing of it can."""
    name = re.split(r"[/\\]", told.rstrip("/\\"))[-1]
    visible = "".join(" " if c in "\t\r\n" else c for c in name if _is_visible(c))
    name = " ".join(unicodedata.normalize("NFC", visible).split())
    name = _FORBIDDEN.sub("_", name).strip(_EDGES)
    if _DEVICES.match(name):
        name = f"_{name}"
    return _cut(name)


def _first(metadata: Mapping[str, bytes], *keys: str) -> str:
    return next((metadata[key] for key in keys if metadata.get(key)), b"").decode("utf-8", "replace")


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE or character in "\t\r\n" + _JOINERS


def _cut(name: str) -> str:
    """At most LONGEST_NAME bytes, between two characters, with the ending that says what it is."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > LONGEST_ENDING:
        stem, dot, ending = name, "", ""
    room = LONGEST_NAME - len((dot + ending).encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(_EDGES) + dot + ending


def _plain(name: str) -> str:
    """For those that know only ASCII. A percent sign would be taken for an escape by some of them."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r'[^ -~]|["\\/%]', "_", bare)
