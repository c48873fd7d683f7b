"""A client of the API, for which it makes no difference who serves it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from tusd_py.errors import CommandError

PREFIX = "/api/v1"

Dial = Callable[[], socket.socket]
Parameters = Sequence[tuple[str, str]]


class Refused(CommandError):
    """The API said no; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Api:
    """Asks with a connection for each question, since between two of them somebody may think for an hour."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    def ask(self, method: str, path: str, parameters: Parameters = ()) -> Any:
        """What it answers, None where there is nothing to say. Raises Refused, or CommandError if nobody answers."""
        target = PREFIX + quote(path) + (f"?{urlencode(parameters)}" if parameters else "")
        try:
            status, body = self._exchange(method, target)
            answer: Any = json.loads(body) if body else None
        except (OSError, HTTPException, ValueError) as error:
            raise CommandError("The server has gone, or is stopping; try again.") from error
        if status >= 400:
            raise Refused(answer["code"], answer["detail"])
        return answer

    def _exchange(self, method: str, target: str) -> tuple[int, bytes]:
        connection = _Connection(self._dial())
        try:
            connection.request(method, target, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class _Connection(HTTPConnection):
    """HTTP over a socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost")
        self._connected = connected

    def connect(self) -> None:
        self.sock = self._connected
