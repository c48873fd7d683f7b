"""One server a data folder (law 11): the lock that says so, and the socket by which the command line finds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from tusd_py.errors import StartError

LOCK = "server.lock"
CONTROL = "control.sock"
DATABASE = "tusd.db"
PROCESSES = "processes"

REST_ENDS_WITHIN = 8.0  # seconds; workers whose parent was killed end what they do and let go of the folder
LOOK_AGAIN_AFTER = 0.02  # seconds


class DataFolder:
    """The locked folder. The kernel lets go of the lock when the process dies, however it dies; where workers have
    inherited it, when the last of them has."""

    def __init__(self, path: Path, *, restoring: bool = False) -> None:
        self.path = path
        self._owned = True
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever can list it knows the URLs of all uploads
            self.lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"The upload folder {path} cannot be used: {error.strerror}.") from error
        try:
            self._take()
        except OSError as error:
            os.close(self.lock)
            raise StartError(f"The upload folder {path} cannot be locked: {error.strerror}.") from error
        except StartError:
            os.close(self.lock)
            raise
        if not restoring and not self.database.exists() and _has_entries(self.uploads):
            self.close()
            raise StartError(
                f"The upload folder {path} holds uploads but no {DATABASE}, without which all of them would be swept; "
                "put it back by tusd-py restore, or choose another --upload-dir to start empty."
            )

    @classmethod
    def inherited(cls, path: Path, lock: int) -> DataFolder:
        """The folder in a worker, which keeps the lock as long as it lives."""
        folder = object.__new__(cls)
        folder.path, folder.lock, folder._owned = path, lock, False
        return folder

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    @property
    def uploads(self) -> Path:
        return self.path / "uploads"

    @property
    def processes(self) -> Path:
        """What the processes of one server share."""
        return self.path / PROCESSES

    def control_socket(self, backlog: int) -> socket.socket:
        """A listening Unix socket that only this user can reach. It is bound through the folder's descriptor, because
        the path of a socket has at most 108 bytes."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            (self.path / CONTROL).unlink(missing_ok=True)
            listener.bind(f"/proc/self/fd/{folder}/{CONTROL}")
            os.chmod(self.path / CONTROL, 0o600)
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            raise StartError(f"The control socket in {self.path} cannot be made: {error.strerror}.") from error
        finally:
            os.close(folder)
        return listener

    def close(self) -> None:
        if self._owned:
            (self.path / CONTROL).unlink(missing_ok=True)
        os.close(self.lock)

    def _take(self) -> None:
        """The lock, now or once the rest of a dead server has ended. Raises OSError, or StartError if it is held."""
        deadline = time.monotonic() + REST_ENDS_WITHIN
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._is_answered() or time.monotonic() > deadline:
                    raise StartError(
                        f"Another server already uses the upload folder {self.path}; "
                        "stop it, or choose another --upload-dir."
                    ) from None
            time.sleep(LOOK_AGAIN_AFTER)

    def _is_answered(self) -> bool:
        """Whether somebody listens on the control socket."""
        connection = dialled(self.path)
        if connection is not None:
            connection.close()
        return connection is not None


def dialled(path: Path) -> socket.socket | None:
    """A connection to the control socket of the server that has this folder; None if there is none that answers."""
    caller = socket.socket(socket.AF_UNIX)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            caller.connect(f"/proc/self/fd/{folder}/{CONTROL}")
        finally:
            os.close(folder)
    except OSError:
        caller.close()
        return None
    return caller


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False  # not there yet; or whoever opens it says what is wrong
