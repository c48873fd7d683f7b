"""Errors to replies: TusErrors by their table, everything else as 500 with a line in the log that says what it was."""

from __future__ import annotations

import itertools
import logging
import re
import secrets

from tusd_py.errors import MethodNotAllowed, TusError
from tusd_py.instruments import Instruments
from tusd_py.protocol import replies
from tusd_py.protocol.replies import Reply
from tusd_py.web.request import Request

log = logging.getLogger("tusd_py.web")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,64}")
_prefix = secrets.token_hex(4)
_counter = itertools.count(1)


def request_id(given: str | None) -> str:
    """The client's X-Request-ID if it is harmless, else one of ours."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_prefix}-{next(_counter):x}"


def failed(error: TusError, method: str, request: Request, instruments: Instruments) -> Reply:
    """The reply to a request that failed, in the form that the client prefers."""
    if method == "HEAD" and not isinstance(error, MethodNotAllowed):
        error = replies.head_failure(error)
    instruments.refused(error.status, error.code)
    return replies.failed(error, method == "HEAD", prefers_json(request.headers.get("Accept")))


def unexpected(defect: BaseException | None, id: str) -> TusError:
    """What a client is told of a defect of ours; the log has the traceback."""
    log.error("request-failed", extra={"request_id": id}, exc_info=defect)
    return TusError("Something went wrong here; the server's log has the details.")


def prefers_json(accept: str | None) -> bool:
    """Whether problem details are wanted rather than text: a JSON type is named before any text or wildcard."""
    if accept is None or "json" not in accept:
        return False
    for part in accept.lower().split(","):
        media_type = part.partition(";")[0].strip()
        if media_type in ("application/json", "application/problem+json"):
            return True
        if media_type.startswith(("text/", "*/")):
            return False
    return False
