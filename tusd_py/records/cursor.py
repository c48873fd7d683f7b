"""Where a page of a listing ended, as text that fits into a URL and means nothing to anybody else."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from math import isfinite
from typing import NamedTuple

from tusd_py.errors import InvalidParameter
from tusd_py.upload import Upload, is_id


class Place(NamedTuple):
    """A place in the order of all uploads: by age, and by id among those of one moment."""

    created: float
    id: str


def place_of(upload: Upload) -> Place:
    return Place(upload.created, upload.id)


def written(place: Place) -> str:
    return urlsafe_b64encode(struct.pack(">d", place.created) + place.id.encode()).decode().rstrip("=")


def understood(cursor: str) -> Place:
    """The place a cursor names; errors.InvalidParameter if it is not one of ours."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = Place(struct.unpack_from(">d", raw)[0], raw[8:].decode("ascii"))
    except (ValueError, struct.error) as error:
        raise InvalidParameter("This cursor is not one of ours; leave it out to begin with the first page.") from error
    if not isfinite(place.created) or not is_id(place.id) or written(place) != cursor:
        raise InvalidParameter("This cursor is not one of ours; leave it out to begin with the first page.")
    return place
