"""What others do to the files of uploads."""

from __future__ import annotations

import os
from pathlib import Path


def path_of(folder: Path, id: str) -> Path:
    return folder / "uploads" / id


def becomes_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def becomes_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "secret")


def becomes_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def becomes_shorter(path: Path) -> None:
    os.truncate(path, 3)


def becomes_longer(path: Path) -> None:
    path.write_bytes(b"hello world and more")


FOREIGN = (becomes_folder, becomes_link, becomes_pipe, Path.unlink)
