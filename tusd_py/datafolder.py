"""One server a data folder (law 11): the lock that says so, and the socket by which the command line finds it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from tusd_py.errors import StartError

LOCK = "server.lock"
CONTROL = "control.sock"
DATABASE = "tusd.db"


class DataFolder:
    """The locked folder. The kernel lets go of the lock when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever can list it knows the URLs of all uploads
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"The upload folder {path} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StartError(
                f"Another server already uses the upload folder {path}; stop it, or choose another --upload-dir."
            ) from None
        except OSError as error:
            os.close(self._lock)
            raise StartError(f"The upload folder {path} cannot be locked: {error.strerror}.") from error
        if not self.database.exists() and _has_entries(path / "uploads"):
            self.close()
            raise StartError(
                f"The upload folder {path} holds uploads but no {DATABASE}, without which all of them would be swept; "
                "put it back, or choose another --upload-dir to start empty."
            )

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    def control_socket(self) -> socket.socket:
        """A bound Unix socket that only this user can reach. It is bound through the folder's descriptor, because the
        path of a socket has at most 108 bytes."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            (self.path / CONTROL).unlink(missing_ok=True)
            listener.bind(f"/proc/self/fd/{folder}/{CONTROL}")
            os.chmod(self.path / CONTROL, 0o600)
        except OSError as error:
            listener.close()
            raise StartError(f"The control socket in {self.path} cannot be made: {error.strerror}.") from error
        finally:
            os.close(folder)
        return listener

    def close(self) -> None:
        (self.path / CONTROL).unlink(missing_ok=True)
        os.close(self._lock)


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False  # not there yet; or whoever opens it says what is wrong
