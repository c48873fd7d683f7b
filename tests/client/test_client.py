"""The library against a server that has moods and announces little."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp.test_utils import TestServer

from tests.client.moody import Moody
from tusd_py.client import (
    Began,
    Bookmarks,
    Client,
    GaveUp,
    Misanswered,
    Moved,
    NotOffered,
    Options,
    Patience,
    Refused,
    Resumed,
    SourceChanged,
    SourceUnreadable,
    Waiting,
    upload,
)
from tusd_py.client.sources import WINDOW
from tusd_py.errors import InvalidMetadata

SIZE = 3 << 20
QUICK = Options(patience=Patience(first=0.001, most=0.002, retries=3))
Serve = Callable[[Moody], Awaitable[str]]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
async def serve(aiohttp_server: Callable[..., Awaitable[TestServer]]) -> Serve:
    async def start(moody: Moody) -> str:
        server = await aiohttp_server(moody.application())
        return str(server.make_url("/files/"))

    return start


def quick(**options: Any) -> Options:
    return Options(patience=QUICK.patience, **options)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


@pytest.mark.parametrize("status", [409, 423, 429, 460, 500, 502, 503, 507])
async def test_a_mood_passes(serve: Serve, film: Path, status: int) -> None:
    """What is worth another try is tried again, of each method, and HEAD is asked before bytes go again."""
    moody = Moody(moods=[(method, status, {}) for method in ("POST", "PATCH", "HEAD")])
    heard: list[object] = []
    uploaded = await upload(film, await serve(moody), QUICK, report=heard.append)
    assert moody.uploads["0"].data == film.read_bytes()
    assert moody.methods() == ["OPTIONS", "POST", "POST", "PATCH", "HEAD", "HEAD", "PATCH"]
    assert uploaded == (uploaded.url, SIZE, 0, 3)
    assert heard[0] == Began(SIZE)
    assert heard[-1] == Moved(SIZE)
    assert [event.failures for event in heard if isinstance(event, Waiting)] == [1, 1, 2]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412, 413, 415, 501])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_refusal_is_final(serve: Serve, film: Path, method: str, status: int) -> None:
    """Every other 4xx ends it at once, with the server's own words."""
    moody = Moody(moods=[(method, status, {})])
    with pytest.raises(Refused, match="ERR_MOOD: not now") as refused:
        await upload(film, await serve(moody), QUICK)
    assert refused.value.status == status
    assert moody.methods().count(method) == 1


async def test_it_gives_up(serve: Serve, film: Path) -> None:
    """So many failures in a row without a byte of progress are enough."""
    moody = Moody(moods=[("PATCH", 503, {"Retry-After": "0"})] * 9)
    with pytest.raises(GaveUp, match=r"503.*4 times in a row"):
        await upload(film, await serve(moody), QUICK)


async def test_a_server_that_keeps_nothing(serve: Serve, film: Path) -> None:
    """A 204 without progress does not become an endless loop."""
    with pytest.raises(GaveUp, match="did not keep them"):
        await upload(film, await serve(Moody(keeps_nothing=True)), QUICK)


async def test_a_later_run_goes_on(serve: Serve, film: Path, tmp_path: Path) -> None:
    """With bookmarks the next run asks for the offset and sends the rest; after success nothing is remembered."""
    moody = Moody(moods=[("PATCH", 400, {})])
    endpoint = await serve(moody)
    bookmarks = Bookmarks(tmp_path / "send")
    with pytest.raises(Refused):
        await upload(film, endpoint, QUICK, bookmarks=bookmarks)
    moody.uploads["0"].data += film.read_bytes()[:1000]
    heard: list[object] = []
    uploaded = await upload(film, endpoint, QUICK, bookmarks=bookmarks, report=heard.append)
    assert uploaded.kept == 1000
    assert Resumed(1000) in heard
    assert len(moody.uploads) == 1
    assert moody.uploads["0"].data == film.read_bytes()
    assert list((tmp_path / "send").iterdir()) == []


@pytest.mark.parametrize("status", [404, 410])
async def test_what_was_left_is_gone(serve: Serve, film: Path, tmp_path: Path, status: int) -> None:
    """Where the server has forgotten the upload of an earlier run, it starts again at once."""
    moody = Moody(moods=[("PATCH", 400, {}), ("HEAD", status, {})])
    endpoint = await serve(moody)
    bookmarks = Bookmarks(tmp_path / "send")
    with pytest.raises(Refused):
        await upload(film, endpoint, QUICK, bookmarks=bookmarks)
    uploaded = await upload(film, endpoint, QUICK, bookmarks=bookmarks)
    assert (uploaded.kept, uploaded.retries, uploaded.url[-1]) == (0, 0, "1")
    assert moody.uploads["1"].data == film.read_bytes()


async def test_a_file_that_was_changed_starts_again(serve: Serve, film: Path, tmp_path: Path) -> None:
    """Bytes of two files are never mixed."""
    moody = Moody(moods=[("PATCH", 400, {})])
    endpoint = await serve(moody)
    bookmarks = Bookmarks(tmp_path / "send")
    with pytest.raises(Refused):
        await upload(film, endpoint, QUICK, bookmarks=bookmarks)
    film.write_bytes(os.urandom(SIZE))
    uploaded = await upload(film, endpoint, QUICK, bookmarks=bookmarks)
    assert moody.uploads[uploaded.url[-1]].data == film.read_bytes()


async def test_a_file_that_changes_while_it_is_sent(serve: Serve, film: Path) -> None:
    """It fails, be it that the file grew, or that it became shorter."""
    endpoint = await serve(Moody())

    def truncate(event: object) -> None:
        if event == Moved(1 << 20):
            os.truncate(film, (1 << 20) + 5)

    with pytest.raises(SourceChanged, match="shorter"):
        await upload(film, endpoint, QUICK, report=truncate)

    def touch(event: object) -> None:
        os.utime(film, (1, 1))

    with pytest.raises(SourceChanged, match="was changed"):
        await upload(film, endpoint, QUICK, report=touch)
    with pytest.raises(SourceUnreadable, match="No such file"):
        await upload(film.with_name("absent"), endpoint, QUICK)


async def test_in_parallel(serve: Serve, film: Path, tmp_path: Path) -> None:
    """Parts go at once and are joined with the metadata of the file; a part that failed goes on in the next run."""
    moody = Moody(moods=[("PATCH", 400, {}), ("POST", 503, {})])
    endpoint = await serve(moody)
    bookmarks = Bookmarks(tmp_path / "send")
    with pytest.raises(Refused):
        await upload(film, endpoint, quick(parallel=3), bookmarks=bookmarks)
    uploaded = await upload(film, endpoint, quick(parallel=3), metadata={"a": "b"}, bookmarks=bookmarks)
    final = moody.uploads[uploaded.url.rpartition("/")[2]]
    assert final.data == film.read_bytes()
    assert final.fields["Upload-Metadata"] == "a Yg=="
    assert final.fields["Upload-Concat"].startswith("final;http://127.0.0.1")
    assert "Upload-Length" not in final.fields
    partials = [kept for kept in moody.uploads.values() if kept.fields.get("Upload-Concat") == "partial"]
    assert all("Upload-Metadata" not in kept.fields for kept in partials)


async def test_checksums(serve: Serve, film: Path) -> None:
    """Every chunk carries one; a chunk that is damaged on its way is sent again."""
    offers = {"Tus-Version": "1.0.0", "Tus-Extension": "checksum", "Tus-Checksum-Algorithm": "sha1,sha256"}
    moody = Moody(offers, moods=[("PATCH", 460, {})])
    uploaded = await upload(film, await serve(moody), quick(checksum=True, chunk=1 << 20))
    told = [request.headers["Upload-Checksum"] for request in moody.requests if request.method == "PATCH"]
    assert len(told) == 4
    assert all(field.startswith("sha256 ") for field in told)
    assert uploaded.retries == 1
    assert moody.uploads["0"].data == film.read_bytes()


async def test_what_is_not_offered(serve: Serve, film: Path) -> None:
    """Nothing is sent to a server that says it cannot do what was asked for."""
    moody = Moody({"Tus-Version": "1.0.0", "Tus-Extension": "creation", "Tus-Max-Size": str(SIZE)})
    endpoint = await serve(moody)
    for options in (quick(parallel=2), quick(checksum=True)):
        with pytest.raises(NotOffered):
            await upload(film, endpoint, options)
    with film.open("ab") as file:
        file.write(b"x")
    with pytest.raises(Refused, match="at most"):
        await upload(film, endpoint, QUICK)
    assert set(moody.methods()) == {"OPTIONS"}


async def test_a_small_file_is_one_request(serve: Serve, tmp_path: Path) -> None:
    """It goes with its creation, if the server offers that; an empty file needs no more anywhere (C10)."""
    moody = Moody({"Tus-Version": "1.0.0", "Tus-Extension": "creation,creation-with-upload"})
    endpoint = await serve(moody)
    (tmp_path / "small").write_bytes(b"hello")
    (tmp_path / "empty").touch()
    async with Client(endpoint, QUICK) as client:
        small = await client.upload(tmp_path / "small")
        await client.upload(tmp_path / "empty")
    assert small.length == 5
    assert [bytes(kept.data) for kept in moody.uploads.values()] == [b"hello", b""]
    assert moody.methods() == ["OPTIONS", "POST", "POST"]


async def test_a_stream(serve: Serve) -> None:
    """Its length is told at its end, what was not acknowledged is sent again; a short one has a length at once."""
    moody = Moody(moods=[("PATCH", 503, {}), ("PATCH", 423, {})])
    endpoint = await serve(moody)
    data = os.urandom(WINDOW // 4)
    async with Client(endpoint, QUICK) as client:
        uploaded = await client.upload_stream(pieces(*[data] * 9))
        short = await client.upload_stream(pieces(b"a", b"b"))
        empty = await client.upload_stream(pieces())
    assert (uploaded.length, short.length, empty.length) == (9 * len(data), 2, 0)
    assert moody.uploads["0"].data == data * 9
    assert moody.uploads["0"].length == 9 * len(data)
    assert moody.uploads["0"].fields["Upload-Defer-Length"] == "1"
    assert moody.uploads["1"].fields["Upload-Length"] == "2"


async def test_a_stream_of_just_a_window(serve: Serve) -> None:
    """Where the end is seen late, an empty request tells the length (C13)."""
    moody = Moody()
    async with Client(await serve(moody), QUICK) as client:
        await client.upload_stream(pieces(bytes(WINDOW), b"", b""))
    assert (moody.uploads["0"].length, len(moody.uploads["0"].data)) == (WINDOW, WINDOW)


async def test_the_token_goes_to_the_server_only(serve: Serve, film: Path) -> None:
    """Another origin, to which the server sends us, does not get it, and nobody shows it."""
    elsewhere = Moody()
    endpoint = await serve(elsewhere)
    elsewhere.moods = []
    await upload(film, endpoint, QUICK)
    there = endpoint + "0"
    elsewhere.uploads["0"].data.clear()
    moody = Moody(moods=[("POST", 201, {"Location": there})])
    options = quick(bearer="secret-token")
    await upload(film, await serve(moody), options)
    assert {request.headers.get("Authorization") for request in moody.requests} == {"Bearer secret-token"}
    assert {request.headers.get("Authorization") for request in elsewhere.requests} == {None}
    assert elsewhere.uploads["0"].data == film.read_bytes()
    assert "secret" not in repr(options)


async def test_no_tus_server(serve: Serve, film: Path) -> None:
    """An answer that is none of a tus server ends it with a question."""
    endpoint = await serve(Moody(moods=[("POST", 200, {})]))
    with pytest.raises(Misanswered, match=r"is http://.* a tus server"):
        await upload(film, endpoint, QUICK)


async def test_silence_is_a_lost_connection(film: Path) -> None:
    """A server that takes bytes but never answers is left after `silence`; one that is not there, at once."""
    options = Options(patience=Patience(first=0.001, retries=1, silence=0.1))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(GaveUp, match=r"nothing moved for 0.1 seconds \(2 times"):
            await upload(film, f"http://127.0.0.1:{port}/", options)
    with pytest.raises(GaveUp, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
        await upload(film, f"http://127.0.0.1:{port}/", options)


async def test_an_unknown_certificate(aiohttp_server: Callable[..., Awaitable[TestServer]], film: Path) -> None:
    """Nothing goes to a server whose certificate nobody we know has signed, and it is not asked twice."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    moody = Moody()
    server = await aiohttp_server(moody.application(), ssl=context)
    with pytest.raises(Refused, match="certificate cannot be trusted: unable to get local issuer"):
        await upload(film, str(server.make_url("/files/")), QUICK)
    assert moody.asked == []


async def test_they_fail_together(film: Path) -> None:
    """Many uploads to a server that is not there give up once, and not one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    heard: list[object] = []
    async with Client(f"http://127.0.0.1:{port}/", QUICK) as client:
        outcomes = await asyncio.gather(
            *(client.upload(film, report=heard.append) for _ in range(9)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [GaveUp] * 9
    assert len([event for event in heard if isinstance(event, Waiting)]) == 3


async def test_a_key_that_cannot_be(serve: Serve, film: Path) -> None:
    """Metadata that tus does not allow is refused before anything is sent."""
    with pytest.raises(InvalidMetadata):
        await upload(film, await serve(Moody()), QUICK, metadata={"a b": "c"})
