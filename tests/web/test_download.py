"""Downloads on real sockets: by sendfile, through the transport and through TLS, on both event loops."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.acceptance.wire import MIB, TUS, Answer, Gone, Wire, eventually
from tests.storage.desk import descriptors
from tests.web.stage import PATIENCE, Stage, pattern, staged
from tusd_py.protocol.downloads import Offer
from tusd_py.protocol.ranges import Span
from tusd_py.storage.memory import MemoryStorage
from tusd_py.web.sendfile import HOP, Parcel, Rest, hop

LOOPS = ("uvloop", "asyncio")
WAYS = [(loop, straight) for loop in LOOPS for straight in (True, False)]
LARGE = 24 * MIB  # more than one hop, and more than sockets and pipes of this machine hold together


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'sendfile' if way[1] else 'transport'}")
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    loop, straight = request.param
    with staged(tmp_path, loop, zero_copy=straight) as stage:
        yield stage


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'sendfile' if way[1] else 'transport'}")
def impatient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    loop, straight = request.param
    with staged(tmp_path, loop, zero_copy=straight, idle_timeout=0.4) as stage:
        yield stage


def put(stage: Stage, data: bytes) -> str:
    """The path of a finished upload."""
    path = stage.new(len(data))
    assert stage.patch(path, 0, data).status == 204
    return path


def parts(answer: Answer) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part, read by the grammar of multipart."""
    mark = answer["Content-Type"].removeprefix("multipart/byteranges; boundary=").encode()
    first, *inner, end = (b"\r\n" + answer.body).split(b"\r\n--" + mark)
    assert (first, end) == (b"", b"--\r\n")
    found = []
    for part in inner:
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        content_range = re.search(rb"^Content-Range: (.*)$", head.replace(b"\r\n", b"\n"), re.MULTILINE)
        assert content_range
        found.append((content_range[1].decode(), body))
    return found


def is_full(stage: Stage) -> bool:
    """Whether a client has left so much unread that the server's socket takes no more."""
    transports = [one.transport for one in stage.edge.connections if one.transport is not None]
    sockets = [transport.get_extra_info("socket").fileno() for transport in transports]
    return len(select.select([], sockets, [], 0)[1]) < len(sockets)


# What is sent


@pytest.mark.parametrize("size", [1, 1000, 65_000, 70_000, 700_000])
def test_bytes_arrive_as_they_were_sent(stage: Stage, size: int) -> None:
    """The whole, a part and parts of uploads of all sizes, one after the other on one connection."""
    data = pattern(size, size)
    path = put(stage, data)
    wire = stage.connect()
    whole = wire.get(path)
    assert (whole.status, whole.body) == (200, data)
    middle = wire.get(path, {"Range": f"bytes={size // 2}-"})
    assert (middle.status, middle.body) == (206, data[size // 2 :])
    assert wire.get(path).body == data
    assert wire.head(path).offset == size


def test_large(stage: Stage) -> None:
    """More than one hop carries."""
    assert LARGE > HOP
    data = os.urandom(LARGE)
    path = put(stage, data)
    wire = stage.connect()
    assert wire.get(path).body == data
    answer = wire.get(path, {"Range": f"bytes=5-{HOP + 5},{LARGE - 9}-,{HOP + MIB}-{HOP + MIB}"})
    assert parts(answer) == [
        (f"bytes 5-{HOP + 5}/{LARGE}", data[5 : HOP + 6]),
        (f"bytes {LARGE - 9}-{LARGE - 1}/{LARGE}", data[-9:]),
        (f"bytes {HOP + MIB}-{HOP + MIB}/{LARGE}", data[HOP + MIB : HOP + MIB + 1]),
    ]
    assert int(answer["Content-Length"]) == len(answer.body)


def test_nothing(stage: Stage) -> None:
    """An empty upload is an empty answer, also to one who asks for a part of it."""
    path = stage.new(0)
    wire = stage.connect()
    for fields in ({}, {"Range": "bytes=0-"}):
        answer = wire.get(path, fields)
        assert (answer.status, answer["Content-Length"], answer.body) == (200, "0", b"")


def test_pipelined(stage: Stage) -> None:
    """Requests before and behind a download are answered in their order."""
    data = pattern(1, 300_000)
    path = put(stage, data)
    wire = stage.connect()
    get, head = wire.head_bytes("GET", path), wire.head_bytes("HEAD", path, TUS)
    options = wire.head_bytes("OPTIONS", "/files/")
    wire.send(options, get, head, get, options, get, get, head)
    assert wire.answer("OPTIONS")["Tus-Version"] == "1.0.0"
    assert wire.answer().body == data
    assert wire.answer("HEAD").offset == len(data)
    assert wire.answer().body == data
    assert wire.answer("OPTIONS")["Tus-Version"] == "1.0.0"
    assert [wire.answer().body for _ in range(2)] == [data, data]
    assert wire.answer("HEAD").offset == len(data)


def test_behind_answers_that_nobody_has_read(stage: Stage) -> None:
    """A client that asks for hundreds of things before it reads anything gets all of them in their order."""
    data, times = pattern(1, 1000), 500
    path = stage.new(len(data), {"Upload-Metadata": f"a {'QUFB' * 3000}"}, data)
    wire = stage.connect()
    wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)  # so that the rest stays with the server
    wire.send((wire.head_bytes("HEAD", path, TUS) + wire.head_bytes("GET", path)) * times)
    eventually(lambda: stage.call(lambda: is_full(stage)), "the socket of the server takes no more")
    for _ in range(times):
        assert wire.answer("HEAD").offset == len(data)
        assert wire.answer().body == data


def test_an_upload_follows_on_the_same_connection(stage: Stage) -> None:
    """The socket that was written to behind the back of the transport goes on both ways."""
    data = pattern(1, 600_000)
    path = put(stage, data)
    wire = stage.connect()
    assert wire.get(path).body == data
    other = wire.new(len(data))
    assert wire.patch(other, 0, data).offset == len(data)
    assert wire.get(other).body == data


@pytest.mark.parametrize("keeps", [True, False])
def test_http_1_0(stage: Stage, keeps: bool) -> None:
    """An old client gets the length, and its connection is kept only if it asks for that."""
    data = pattern(1, 400_000)
    path = put(stage, data)
    wire = stage.connect()
    request = f"GET {path} HTTP/1.0\r\nHost: x\r\n{'Connection: keep-alive' if keeps else 'X: y'}\r\n\r\n".encode()
    for _ in range(2 if keeps else 1):
        wire.send(request)
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, data)
        assert answer["Connection"] == ("keep-alive" if keeps else "close")
    assert keeps or wire.is_closed()


def test_a_client_that_sends_no_more(stage: Stage) -> None:
    """One that closes its side after the request still gets all of it."""
    data = pattern(1, 3_000_000)
    wire = stage.connect()
    wire.begin("GET", put(stage, data))
    wire.stop_sending()
    assert wire.answer().body == data
    assert wire.is_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_through_tls(loop: str, tmp_path: Path) -> None:
    """The same bytes, encrypted, whole and in parts."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with staged(tmp_path, loop, tls=context) as stage:
        wire = stage.connect()
        wire._socket = trusting.wrap_socket(wire._socket, server_hostname="127.0.0.1")
        data = pattern(1, 2_000_000)
        path = wire.new(len(data))
        assert wire.patch(path, 0, data).status == 204
        assert wire.get(path).body == data
        answer = wire.get(path, {"Range": "bytes=0-9,1000000-"})
        assert [body for _, body in parts(answer)] == [data[:10], data[1_000_000:]]
        assert wire.head(path).offset == len(data)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storage_without_files(loop: str, tmp_path: Path) -> None:
    """What has no descriptor to offer is read and sent, whole and in parts."""
    data = os.urandom(3 * MIB)
    with staged(tmp_path, loop, storage=MemoryStorage) as stage:
        wire = stage.connect()
        path = wire.new(len(data), body=data)
        assert wire.get(path).body == data
        answer = wire.get(path, {"Range": "bytes=-5,0-1999999"})
        assert [body for _, body in parts(answer)] == [data[-5:], data[:2_000_000]]
        assert wire.head(path).offset == len(data)


# Readers


def test_twenty_readers(stage: Stage) -> None:
    """Each gets its own part of one file, all at once, with four threads."""
    data = os.urandom(8 * MIB)
    path = put(stage, data)
    together = threading.Barrier(20)

    def read(number: int) -> bool:
        wire = stage.connect()
        together.wait(PATIENCE)
        at = number * 1000
        return wire.get(path, {"Range": f"bytes={at}-"}).body == data[at:] and wire.get(path).body == data

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(read, range(20)))


def test_slow_readers_hold_up_nobody(stage: Stage) -> None:
    """While more clients than there are threads stand still, others upload and download; then they get their bytes."""
    data = os.urandom(LARGE)
    path = put(stage, data)
    slow = [stage.connect() for _ in range(6)]
    for wire in slow:
        wire.begin("GET", path)
    for wire in slow:
        assert not wire.is_silent(PATIENCE)
    assert stage.get(path, {"Range": "bytes=0-999999"}).body == data[:1_000_000]
    assert put(stage, data[:MIB])
    with ThreadPoolExecutor(6) as pool:
        assert all(answer.body == data for answer in pool.map(Wire.answer, slow))


def test_deleted_while_it_is_read(stage: Stage) -> None:
    """A reader who has begun gets all of it."""
    data = os.urandom(LARGE)
    path = put(stage, data)
    reader = stage.connect()
    reader.begin("GET", path, {"Range": "bytes=0-9,1000-"})
    assert not reader.is_silent(PATIENCE)
    assert stage.delete(path).status == 204
    assert stage.get(path).status == 404
    assert [body for _, body in parts(reader.answer())] == [data[:10], data[1000:]]


@pytest.mark.parametrize("manner", ["resets", "closes"])
def test_vanishes(stage: Stage, manner: str) -> None:
    """A client that goes in the middle leaves no descriptor and no thread at work behind, at once."""
    path = put(stage, bytes(LARGE))
    eventually(stage.is_empty, "nobody is connected")
    before = descriptors()
    for _ in range(6):
        wire = stage.connect()
        wire.begin("GET", path)
        assert not wire.is_silent(PATIENCE)
        if manner == "resets":
            wire.reset()
        else:
            wire.close()
    eventually(stage.is_empty, "all connections are closed", within=2.0)
    eventually(lambda: descriptors() == before, "all descriptors are closed")
    assert stage.get(path, {"Range": "bytes=0-9"}).body == bytes(10)


def test_takes_nothing(impatient: Stage) -> None:
    """A client that stands still for the idle timeout is hung up on, and its descriptors are closed."""
    path = put(impatient, bytes(LARGE))
    eventually(impatient.is_empty, "nobody is connected")
    before = descriptors()
    wire = impatient.connect()
    wire.begin("GET", path)
    assert not wire.is_silent(PATIENCE)
    eventually(impatient.is_empty, "the connection is closed")
    eventually(lambda: len(descriptors()) == len(before) + 1, "all but ours are closed")
    with pytest.raises(Gone):
        wire.answer()


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "straight"), WAYS)
def test_takes_little(loop: str, straight: bool, tmp_path: Path) -> None:
    """A client that reads so slowly that its socket takes more only now and then, later than the idle timeout, gets all
    of it, however long that takes."""
    data = os.urandom(10 * MIB)
    with staged(tmp_path, loop, zero_copy=straight, idle_timeout=0.1) as stage:
        path = stage.new(len(data), body=data)
        wire = Slow(stage.address, pause=0.02, bite=64 << 10)
        wire.begin("GET", path)
        assert wire.answer().body == data
        wire.close()


class Slow(Wire):
    """Reads a bite, and pauses."""

    def __init__(self, address: tuple[str, int], *, pause: float, bite: int) -> None:
        super().__init__(address)
        self._pause, self._bite, self._clock = pause, bite, threading.Event()

    def _more(self) -> bytes:
        self._clock.wait(self._pause)
        data = self._socket.recv(self._bite)
        assert data, "cut off"
        return data


@pytest.mark.parametrize("loop", LOOPS)
def test_the_file_has_become_shorter(loop: str, tmp_path: Path) -> None:
    """Bytes that somebody cut off while they were sent are not made up: the connection ends early."""
    for straight in (True, False):
        with staged(tmp_path, loop, zero_copy=straight) as stage:
            path = put(stage, bytes(LARGE))
            wire = stage.connect()
            wire.begin("GET", path)
            assert not wire.is_silent(PATIENCE)
            file = stage.folder / "uploads" / path.rpartition("/")[2]
            os.truncate(file, 1000)
            with pytest.raises(Gone):
                wire.answer()


# What is told


def test_who_has_it_is_told_so(stage: Stage) -> None:
    """Tag and date of one answer make the next one 304, without a body, and the connection goes on."""
    data = pattern(1, 100_000)
    wire = stage.connect()
    path = put(stage, data)
    whole = wire.get(path)
    for fields in ({"If-None-Match": whole["ETag"]}, {"If-Modified-Since": whole["Last-Modified"]}):
        answer = wire.get(path, fields)
        assert (answer.status, answer["ETag"], answer.body) == (304, whole["ETag"], b"")
        assert "Content-Length" not in answer
    resumed = wire.get(path, {"Range": "bytes=50000-", "If-Range": whole["ETag"]})
    assert (resumed.status, resumed.body) == (206, data[50_000:])
    changed = wire.get(path, {"Range": "bytes=50000-", "If-Range": '"other"'})
    assert (changed.status, changed.body) == (200, data)
    failed = wire.get(path, {"If-Match": '"other"'})
    assert (failed.status, failed.code) == (412, "ERR_PRECONDITION_FAILED")
    assert "Tus-Version" not in failed


def test_head_stays_that_of_tus(stage: Stage) -> None:
    """HEAD tells the offset, whatever a download would tell; it knows no ranges and no conditions."""
    path = put(stage, b"abc")
    tag = stage.get(path)["ETag"]
    answer = stage.head(path, {"Range": "bytes=0-1", "If-None-Match": tag})
    assert (answer.status, answer.offset) == (200, 3)
    assert "ETag" not in answer
    assert "Content-Range" not in answer


def test_a_method_that_overrides_head(stage: Stage) -> None:
    """A HEAD that asks to be a GET has no body on the wire, and the connection goes on."""
    wire = stage.connect()
    path = put(stage, pattern(1, 100_000))
    assert wire.head(path, {"X-HTTP-Method-Override": "GET"}).status == 200
    assert wire.head(path).offset == 100_000


def test_what_guards_browsers(stage: Stage) -> None:
    """Every download is an attachment of a known type in a sandbox, asked about again each time."""
    answer = stage.get(put(stage, b"<script>"))
    assert answer["Content-Disposition"] == "attachment"
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Cache-Control"] == "private, no-cache"
    assert answer["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("sender", ["x-accel-redirect", "x-sendfile"])
def test_somebody_else_sends_it(sender: str, tmp_path: Path) -> None:
    """The proxy is told where the file is, and what to tell of it; conditions and ranges are left to it."""
    offer = Offer(frozenset({"image/png"}), sender, "/srv/uploads/")
    with staged(tmp_path, offer=offer) as stage:
        fields = {"Upload-Metadata": "filename YS5wbmc=,filetype aW1hZ2UvcG5n"}
        path = stage.new(3, fields, b"abc")
        for asked in ({}, {"Range": "bytes=7-"}, {"If-None-Match": "*"}):
            answer = stage.get(path, asked)
            assert (answer.status, answer["Content-Length"], answer.body) == (200, "0", b"")
            assert answer[sender] == path.replace("/files/", "/srv/uploads/")
            assert answer["Content-Type"] == "image/png"
            assert answer["Content-Disposition"] == 'attachment; filename="a.png"'
            assert "ETag" not in answer


# One hop


def test_a_file_that_cannot_be_sent_so(tmp_path: Path) -> None:
    """A hop that meets one says so before anything of it is lost; what stands before it has gone."""
    folder = os.open(tmp_path, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        parcel = Parcel((b"head", Span(0, 10)))
        assert hop(ours, folder, parcel) is Rest.UNABLE
        assert parcel.first == Span(0, 10)
        assert theirs.recv(100) == b"head"
    os.close(folder)


def test_a_hop_never_waits_for_one_who_does_not_read(tmp_path: Path) -> None:
    """It ends when the socket is full, and goes on exactly there."""
    (tmp_path / "file").write_bytes(data := os.urandom(3 * MIB))
    file = os.open(tmp_path / "file", os.O_RDONLY)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        parcel = Parcel((b"head", Span(0, len(data)), b"", Span(5, 5), b"tail"))
        received = b""
        while (rest := hop(ours, file, parcel, moment=0)) is Rest.FULL:
            received += theirs.recv(MIB)
        assert rest is Rest.DONE
        ours.close()
        while more := theirs.recv(MIB):
            received += more
    os.close(file)
    assert received == b"head" + data + b"tail"
