"""The course of one upload: what to send next, and what an answer changes. Pure: no I/O, no clock, no chance.

    while not isinstance(step := course.next(), Done):
        setback = course.heard(step, answer_to(step))     # or course.lost()

There is one rule behind it: the server knows how many bytes it has, we only guess. So after everything that went wrong
the offset is forgotten, and the next step is to ask (T20).
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from tusd_py.client.answers import Answer, Setback, Verdict, judge, refusal, setback
from tusd_py.client.failures import Misanswered, Refused
from tusd_py.client.steps import Append, Ask, Create, Done, More, Request, Step


class Course:
    """One upload of the bytes [0, end) to a server, of which `length` will be all; None while nobody knows.

    `url` is an upload that an earlier run left; `chunk` the most bytes of one request; `with_creation` how many bytes
    may go with the creation. `may_restart` is False where the source cannot give its first bytes again.
    """

    def __init__(
        self,
        endpoint: str,
        end: int,
        length: int | None,
        *,
        chunk: int | None = None,
        url: str | None = None,
        with_creation: int = 0,
        may_restart: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.url = url
        self.offset = 0 if url is None else None
        self.adopted = url is not None  # by an earlier run, and not yet asked for
        self.best = -1  # the highest offset ever heard of: only what passes it is progress
        self._end = end
        self._length = length
        self._declared = length is not None
        self._chunk = chunk
        self._with_creation = with_creation
        self._may_restart = may_restart

    def next(self) -> Step:
        if self.url is None:
            return Create(self._length, self._end if self._end <= self._with_creation else 0)
        if self.offset is None:
            return Ask(self.url)
        if self.offset == self._end and self._length is None:
            return More(self.offset)
        if self.offset == self._length and self._declared:
            return Done(self.url)
        size = self._end - self.offset
        return Append(self.url, self.offset, min(size, self._chunk or size), None if self._declared else self._length)

    def extend(self, end: int, complete: bool) -> None:
        """The source has bytes up to `end`; `complete`: and no more."""
        self._end = end
        self._length = end if complete else None

    def lost(self) -> None:
        """No answer came, so the server may have any part of what was sent."""
        if self.url is not None:
            self.offset = None

    def heard(self, step: Request, answer: Answer) -> Setback | None:
        """Take an answer in; a Setback if it is worth another try. Raises Refused or Misanswered if it is final."""
        verdict = judge(step.method, answer.status)
        if verdict is Verdict.RETRY:
            self.lost()
            return setback(answer)
        if verdict is Verdict.FINAL:
            raise refusal(answer)
        if verdict is Verdict.GONE:
            return self._gone(answer)
        match step:
            case Create():
                return self._created(step, answer)
            case Ask():
                return self._told(answer)
            case Append():
                return self._appended(step, answer)

    def _gone(self, answer: Answer) -> Setback | None:
        if not self._may_restart:
            raise refusal(answer)
        self.url, self.offset = None, 0
        if self.adopted:  # by an earlier run: no wonder, and no reason to wait
            self.adopted = False
            return None
        return Setback(f"the upload is gone from the server ({answer.status}), so it starts again")

    def _created(self, step: Create, answer: Answer) -> Setback | None:
        self.url = created_at(self.endpoint, answer)
        self.offset = (answer.number("upload-offset") or 0) if step.size else 0
        if self.offset > step.size:
            raise Misanswered(f"the server says that it has {self.offset} bytes, of {step.size} that were sent")
        self.best = max(self.best, self.offset)
        return None

    def _told(self, answer: Answer) -> Setback | None:
        offset, length = answer.number("upload-offset"), answer.number("upload-length")
        if offset is None:
            raise Misanswered(f"the answer to HEAD has no Upload-Offset; is {self.endpoint} a tus server?")
        if length is not None and length != self._length:
            raise Misanswered(f"the upload on the server is for {length} bytes, not for these {self._end}")
        if offset > self._end:
            raise Misanswered(f"the server has {offset} bytes, of {self._end} that there are")
        self.adopted = False
        self._declared = self._declared or length is not None
        self.offset, self.best = offset, max(self.best, offset)
        return None

    def _appended(self, step: Append, answer: Answer) -> Setback | None:
        offset = answer.number("upload-offset")
        if offset is not None and offset > step.offset + step.size:
            raise Misanswered(f"the server acknowledged {offset} bytes, of {step.offset + step.size} that were sent")
        if offset is None or offset < step.offset + min(step.size, 1):
            self.lost()
            return Setback("the server took the bytes, but did not keep them")
        self._declared = self._declared or step.declares is not None
        self.offset, self.best = offset, max(self.best, offset)
        return None


def created_at(endpoint: str, answer: Answer) -> str:
    """The URL of a new upload (T52, C11). One without encryption where we came with it is refused, as browsers do."""
    location = answer.fields.get("location")
    if not location:
        raise Misanswered(f"the server created an upload but did not say where; is {endpoint} a tus server?")
    url = urljoin(endpoint, location)
    if urlsplit(endpoint).scheme == "https" and urlsplit(url).scheme != "https":
        raise Refused(f"the server, reached by https, puts the upload at {url}: its public URL is set wrong", 201)
    return url
