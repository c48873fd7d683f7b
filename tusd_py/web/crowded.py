"""What a connection is told that comes beyond the limit, before anything of it is read. It imports no HTTP library, so
that whoever only accepts connections can say it too."""

from __future__ import annotations

from tusd_py.errors import Busy

_BODY = f"{Busy.code}: {Busy.sentence()}\n"

ANSWER = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {Busy.retry_after}\r\nTus-Resumable: 1.0.0\r\n"
    f"Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(_BODY)}\r\nConnection: close\r\n\r\n{_BODY}"
).encode("ascii")
