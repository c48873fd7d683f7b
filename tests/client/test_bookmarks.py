"""What an interrupted run leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tusd_py.client.bookmarks import FORGOTTEN_AFTER, Bookmarks, Mark
from tusd_py.client.failures import InUse
from tusd_py.client.plan import Span
from tusd_py.client.sources import File, Identity

FILM = Identity("/film.mp4", 10, 1, 2)
SERVER = "http://there/files/"
MARKS = (Mark(Span(0, 5), f"{SERVER}a"), Mark(Span(5, 10), None))


def written(folder: Path) -> Bookmarks:
    bookmarks = Bookmarks(folder / "send")
    with bookmarks.hold(FILM, SERVER) as bookmark:
        bookmark.write("", MARKS)
    return bookmarks


def test_it_is_there_again(tmp_path: Path) -> None:
    """The next run finds what this one wrote, and nobody else can read it."""
    bookmarks = written(tmp_path)
    with bookmarks.hold(FILM, SERVER) as bookmark:
        assert bookmark.read("") == MARKS
    folder = tmp_path / "send"
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())] == ["0o700", "0o600"]


def test_another_file_server_or_metadata_finds_nothing(tmp_path: Path) -> None:
    """Only the same file, unchanged, sent to the same server with the same metadata goes on."""
    bookmarks = written(tmp_path)
    others = [FILM._replace(size=9), FILM._replace(changed=2), FILM._replace(inode=3), FILM._replace(path="/x")]
    for identity, server, metadata in [*((other, SERVER, "") for other in others), (FILM, "http://b/", "")]:
        with bookmarks.hold(identity, server) as bookmark:
            assert bookmark.read(metadata) == ()
    with bookmarks.hold(FILM, SERVER) as bookmark:
        assert bookmark.read("filename YQ==") == ()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"file": 5}', b"\xff\xff"])
def test_a_damaged_one_is_none(tmp_path: Path, damage: bytes) -> None:
    """What cannot be read is as if it were not there."""
    bookmarks = written(tmp_path)
    for path in (tmp_path / "send").iterdir():
        path.write_bytes(damage)
    with bookmarks.hold(FILM, SERVER) as bookmark:
        assert bookmark.read("") == ()


def test_parts_that_are_not_the_whole_file(tmp_path: Path) -> None:
    """Marks with a gap are not believed."""
    bookmarks = Bookmarks(tmp_path)
    with bookmarks.hold(FILM, SERVER) as bookmark:
        bookmark.write("", (Mark(Span(0, 4), None), MARKS[1]))
        assert bookmark.read("") == ()


def test_one_at_a_time(tmp_path: Path) -> None:
    """A file that is being sent is not sent a second time to the same server."""
    bookmarks = written(tmp_path)
    with bookmarks.hold(FILM, SERVER), pytest.raises(InUse):
        bookmarks.hold(FILM, SERVER).__enter__()


def test_nothing_is_left_of_what_is_finished(tmp_path: Path) -> None:
    """Finished, or never begun, it leaves no file; among many it stays until all of them are there."""
    bookmarks = written(tmp_path)
    with bookmarks.hold(FILM, SERVER) as bookmark:
        bookmark.finish("", f"{SERVER}a")
    with bookmarks.hold(FILM._replace(inode=9), SERVER):
        pass
    assert list((tmp_path / "send").iterdir()) == []
    many = Bookmarks(tmp_path / "send", keep_finished=True)
    with many.hold(FILM, SERVER) as bookmark:
        bookmark.finish("", f"{SERVER}a")
        assert bookmark.read("") == (Mark(Span(0, 10), f"{SERVER}a"),)
    many.forget_finished()
    assert list((tmp_path / "send").iterdir()) == []


def test_old_ones_are_forgotten(tmp_path: Path) -> None:
    """What no server remembers goes when the folder is next used."""
    bookmarks = written(tmp_path)
    (path,) = (tmp_path / "send").iterdir()
    bookmarks.prepare()
    assert path.exists()
    old = path.stat().st_mtime - FORGOTTEN_AFTER - 60
    os.utime(path, (old, old))
    bookmarks.prepare()
    assert not path.exists()


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A file name of bytes that are no UTF-8 can be sent and remembered."""
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe")
    with open(path, "wb") as file:
        file.write(b"x")
    with File(os.fsdecode(path)) as source, Bookmarks(tmp_path / "send").hold(source.identity, SERVER) as bookmark:
        bookmark.write("", (Mark(Span(0, 1), "u"),))
        assert bookmark.read("") == (Mark(Span(0, 1), "u"),)
