"""Why an upload ended without being finished: a class each. `resumable` tells whether trying later may help."""

from __future__ import annotations

from typing import ClassVar


class SendError(Exception):
    """The upload could not be finished; the message says why in one sentence."""

    code: ClassVar[str] = "failed"
    resumable: ClassVar[bool] = False


class Refused(SendError):
    """The server said no, and would say so again. `status` is that of its answer."""

    code = "refused"

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class NotOffered(SendError):
    """The server does not do what was asked for: concatenation, checksums, a length that is told at the end."""

    code = "not-offered"


class Misanswered(SendError):
    """The server's answer breaks the protocol, so that going on could damage the file."""

    code = "misanswered"


class SourceChanged(SendError):
    """The file was changed while it was being sent; what is on the server is of no use."""

    code = "source-changed"


class SourceUnreadable(SendError):
    """The file cannot be read."""

    code = "source-unreadable"


class InUse(SendError):
    """Another process sends the same file to the same server."""

    code = "in-use"
    resumable = True


class GaveUp(SendError):
    """The network or the server failed again and again; what arrived is kept."""

    code = "gave-up"
    resumable = True
