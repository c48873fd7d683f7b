"""The table of failures: every class has a code of its own, a status and a sentence for people."""

from __future__ import annotations

import inspect
import re
from http import HTTPStatus

import pytest

from tusd_py import errors
from tusd_py.errors import TusError

ALL = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, TusError) and error is not TusError
]
BEYOND_THE_REGISTRY = {460}  # Checksum Mismatch, of tus


def test_codes_are_unique() -> None:
    """A code names one failure, so that logs and counters can be read."""
    codes = [error.code for error in [*ALL, TusError]]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_failure_is_complete(error: type[TusError]) -> None:
    """Code, status and sentence are its own and well-formed; whatever asks to wait passes by itself."""
    assert "code" in vars(error)
    assert "status" in vars(error)
    assert re.fullmatch(r"ERR(_[A-Z]+)+", error.code)
    assert error.status in BEYOND_THE_REGISTRY or HTTPStatus(error.status) >= 400
    assert "__doc__" in vars(error)
    assert re.fullmatch(r"[A-Z][ -~]+\.", error.sentence()), "one line of ASCII that ends with a full stop"
    assert error.retry_after is None or error.status in {423, 503, 507}


def test_the_sentence_is_the_message_unless_there_is_more_to_say() -> None:
    """An error without a detail says its docstring."""
    assert str(errors.UploadNotFound()) == "There is no such upload; create a new one."
    assert str(errors.UploadNotFound("gone")) == "gone"
    assert errors.MismatchedOffset(offset=7).offset == 7
    assert errors.MethodNotAllowed(allow="GET").allow == "GET"
