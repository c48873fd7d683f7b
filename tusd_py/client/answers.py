"""What an answer of the server means. Pure.

What is worth another try is what deployed clients and the protocol agree on: 409, 423, 429, 5xx and a lost connection,
and a 460, since the chunk was damaged on its way (T87). Every other 4xx is final. HEAD is asked before the next bytes
go, and only 404 and 410 mean that the upload is gone: a 5xx or a 403 on HEAD must not throw progress away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from tusd_py.client.failures import Refused
from tusd_py.protocol.fields import whole_number

MOST_TEXT = 300  # characters of the server's own words that are passed on
NOT_IMPLEMENTED = 501  # the one 5xx that waiting does not change

WORTH_A_RETRY = frozenset({409, 423, 429, 460})
GONE = frozenset({404, 410})

HINTS = {
    401: "the server wants to know who you are: give a bearer token",
    403: "the server does not allow it",
    404: "there is no upload at this URL; is it the one under which the server takes uploads?",
    410: "the upload has expired",
    412: "the server does not speak tus 1.0.0",
    413: "too large for the server, or for a proxy in front of it; through a proxy smaller chunks pass",
    501: "the server cannot do that",
}


class Answer(NamedTuple):
    """`fields` has lower-case names."""

    status: int
    fields: Mapping[str, str]
    text: str = ""

    def number(self, field: str) -> int | None:
        return whole_number(self.fields.get(field, "").strip())


class Verdict(Enum):
    DONE = "done"
    RETRY = "retry"
    GONE = "gone"
    FINAL = "final"


class Setback(NamedTuple):
    """Something that is worth another try: why, and how many seconds the server asked to wait."""

    why: str
    asked: float | None = None


def judge(method: str, status: int) -> Verdict:
    if 200 <= status < 300:
        return Verdict.DONE
    if status in WORTH_A_RETRY or (status >= 500 and status != NOT_IMPLEMENTED):
        return Verdict.RETRY
    return Verdict.GONE if method == "HEAD" and status in GONE else Verdict.FINAL


def setback(answer: Answer) -> Setback:
    asked = whole_number(answer.fields.get("retry-after", "").strip())  # a date there is rare; our own pause does
    return Setback(f"the server answered {answer.status}{_words(answer)}", None if asked is None else float(asked))


def refusal(answer: Answer) -> Refused:
    """What to raise for an answer that is final."""
    if 300 <= answer.status < 400:
        where = _printable(answer.fields.get("location", "")) or "elsewhere"
        return Refused(f"the server sends us to {where}; give that URL if it is the right one", answer.status)
    hint = HINTS.get(answer.status, "the server refused it")
    return Refused(f"{hint} (status {answer.status}{_words(answer)})", answer.status)


def _words(answer: Answer) -> str:
    """The server's own words, unless it is a page for a browser."""
    text = "" if "html" in answer.fields.get("content-type", "") else _printable(answer.text)
    return f": {text}" if text else ""


def _printable(text: str) -> str:
    """One line that can do nothing to a terminal."""
    return re.sub(r"[^ -~\xa1-\uffff]+", " ", text).strip()[:MOST_TEXT]
