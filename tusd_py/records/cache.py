"""Whole uploads in memory, in front of the database: for one process, or for one of several.

Both hold only what was in the database, never "there is none", at most `size` uploads, and may be thrown away at any
moment. Why neither ever answers with a state that a caller has been told is past:

* `Alone`: this process makes every change. It keeps what commits give back, in the order of the commits, and what was
  read while no commit touched that upload.
* `Stamped`: any process may make changes. An entry is good while the upload's stamp (tusd_py/stamps.py) is what it was
  before the entry was read. Whoever changes a record changes the stamp before the commit is queued, and again once it
  has landed, before the caller is told. Now let a caller have been told of a change. An entry that was read before the
  commit noted its stamp even earlier, so the second change makes it invalid, whichever process holds it. What a commit
  gives back is not kept, because another process's commit may have landed since; the next who asks reads it. A
  creation's is: until its caller is told, nobody else knows the id.

Between commit and stamp either answer is true, since nobody was told. But a process that is killed in between leaves
the old one true for ever in the eyes of others, while those who read the database see the new. The first of the two
changes keeps that to entries read during the very commit, and the parent, who sees the death, changes all stamps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

from tusd_py.stamps import Stamps
from tusd_py.upload import Upload


class Cache(Protocol):
    def get(self, id: str, /) -> Upload | None:
        """The upload, if it is known at this moment."""

    def reading(self, id: str) -> Any:
        """The database is about to be read; what this returns goes to `read`."""

    def read(self, id: str, upload: Upload | None, reading: Any) -> Upload | None:
        """It was read; returns what is known best."""

    def created(self, upload: Upload) -> None:
        """A new upload has landed in the database."""

    def changing(self, id: str) -> None:
        """A change is about to be committed."""

    def changed(self, id: str, upload: Upload | None) -> None:
        """A change has landed; None if nothing is left."""

    def clear(self) -> None: ...


class Alone(OrderedDict[str, Upload]):
    """The cache of the only process. A dictionary, so that a hit costs a look into one and nothing more."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._reading: dict[str, object] = {}  # by id, the last read, while no commit has touched that upload

    def reading(self, id: str) -> object:
        mine = self._reading[id] = object()
        return mine

    def read(self, id: str, upload: Upload | None, reading: Any) -> Upload | None:
        if self._reading.get(id) is reading:
            del self._reading[id]
            if upload is not None:
                self.changed(id, upload)
        return self.get(id, upload)

    def created(self, upload: Upload) -> None:
        self.changed(upload.id, upload)

    def changing(self, id: str) -> None: ...

    def changed(self, id: str, upload: Upload | None) -> None:
        self.pop(id, None)
        self._reading.pop(id, None)
        if upload is None:
            return
        self[id] = upload
        if len(self) > self._size:
            self.popitem(last=False)


class Stamped:
    """The cache of one of several processes."""

    def __init__(self, size: int, stamps: Stamps) -> None:
        self._size = size
        self._stamps = stamps
        self._known: OrderedDict[str, tuple[int, Upload]] = OrderedDict()

    def get(self, id: str, /) -> Upload | None:
        known = self._known.get(id)
        return known[1] if known is not None and known[0] == self._stamps.of(id) else None

    def reading(self, id: str) -> int:
        return self._stamps.of(id)

    def read(self, id: str, upload: Upload | None, reading: Any) -> Upload | None:
        if upload is not None:
            self._keep(upload, reading)
        return upload

    def created(self, upload: Upload) -> None:
        self._keep(upload, self._stamps.of(upload.id))

    def changing(self, id: str) -> None:
        self._stamps.change(id)

    def changed(self, id: str, upload: Upload | None) -> None:
        self._stamps.change(id)
        self._known.pop(id, None)

    def clear(self) -> None:
        self._known.clear()

    def _keep(self, upload: Upload, stamp: int) -> None:
        self._known.pop(upload.id, None)
        self._known[upload.id] = (stamp, upload)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
