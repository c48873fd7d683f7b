"""The tus requests that the measures make; each checks its answer."""

from __future__ import annotations

from bench.client.wire import METADATA, Answer, Connection, Failed, path_of

OFFSET_STREAM = "application/offset+octet-stream"


def patch_headers(offset: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM}


def create(connection: Connection, root: str, length: int, concat: str = "") -> str:
    """A new, empty upload; returns its path."""
    headers = {"Upload-Length": str(length), "Upload-Metadata": METADATA, "Content-Length": "0"}
    return created(connection.ask("POST", root, headers | ({"Upload-Concat": concat} if concat else {})))


def join(connection: Connection, root: str, parts: list[str]) -> str:
    """The final upload of finished partial ones; returns its path."""
    headers = {"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": METADATA, "Content-Length": "0"}
    return created(connection.ask("POST", root, headers))


def append(connection: Connection, path: str, offset: int, size: int) -> None:
    """One PATCH of `size` bytes at `offset`."""
    answer = connection.ask("PATCH", path, patch_headers(offset), size)
    expect(answer, 204, "PATCH")
    if answer.headers.get("upload-offset") != str(offset + size):
        raise Failed(f"PATCH: Upload-Offset is {answer.headers.get('upload-offset')}, not {offset + size}")


def offset_of(connection: Connection, path: str) -> int:
    """What HEAD says is stored, in bytes."""
    answer = connection.ask("HEAD", path, {})
    expect(answer, 200, "HEAD")
    return int(answer.headers.get("upload-offset", "-1"))


def delete(connection: Connection, path: str) -> None:
    expect(connection.ask("DELETE", path, {"Content-Length": "0"}), 204, "DELETE")


def discard(connection: Connection, path: str) -> None:
    """DELETE of what a server may have removed already."""
    connection.ask("DELETE", path, {"Content-Length": "0"})


def created(answer: Answer) -> str:
    expect(answer, 201, "POST")
    return path_of(answer.headers.get("location", ""))


def expect(answer: Answer, status: int, what: str) -> None:
    """Raises Failed when the status is another."""
    if answer.status != status:
        said = answer.body[:80].decode("latin-1").strip()
        raise Failed(f"{what}: {answer.status} in place of {status}" + (f" ({said})" if said else ""))
