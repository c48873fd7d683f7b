"""What the benchmark reads: answers of servers, the load client's line, /proc."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from bench import processes
from bench.client.load import Load, parse
from bench.client.wire import Connection, Failed, parse_head, path_of, pieces


def served(answer: bytes) -> Connection:
    """A connection to a server that gives one answer to whatever comes, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as accepted:
            accepted.recv(65536)
            accepted.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return Connection("127.0.0.1", listener.getsockname()[1], patience=5)


def test_head_is_status_and_lower_case_names() -> None:
    """A response head becomes its status and its fields."""
    answer = parse_head(b"HTTP/1.1 204 No Content\r\nUpload-Offset: 5\r\nConnection: Close")
    assert (answer.status, answer.headers["upload-offset"], answer.closes) == (204, "5", True)


@pytest.mark.parametrize("location", ["http://127.0.0.1:1080/files/a", "/files/a"])
def test_path_of_location(location: str) -> None:
    """Locations that are URLs and those that are paths lead to the same path."""
    assert path_of(location) == "/files/a"


@pytest.mark.parametrize("size", [0, 1, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1])
def test_pieces_make_up_the_size(size: int) -> None:
    """The prepared buffer gives as many bytes as asked."""
    assert sum(map(len, pieces(size))) == size


def test_body_with_a_length_is_read_whole() -> None:
    """A body with Content-Length belongs to the answer."""
    with served(b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nabc") as connection:
        assert connection.ask("POST", "/", {}).body == b"abc"


def test_chunked_body_is_joined() -> None:
    """A chunked body is decoded, as Node sends it."""
    with served(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n") as connection:
        assert connection.ask("GET", "/", {}).body == b"abc"


def test_close_without_an_answer_is_a_failure() -> None:
    """A server that closes without a word fails the measure."""
    with served(b"") as connection, pytest.raises(Failed, match="closed without an answer"):
        connection.ask("HEAD", "/", {})


def test_load_line() -> None:
    """The line of the load client holds all its counts."""
    line = 'seconds=1.500000 right=12 wrong=1 reconnects=2 first="HTTP/1.1 500 No"\n'
    assert parse(line) == Load(1.5, 12, 1, 2, "HTTP/1.1 500 No")


def test_other_words_of_the_load_client_are_a_failure() -> None:
    """What is no result is quoted in the failure."""
    with pytest.raises(Failed, match="connect: refused"):
        parse("load: connect: refused")


def test_stat_of_a_command_with_blanks_and_brackets() -> None:
    """A process may call itself anything; the fields behind its name are still found."""
    assert processes.stat_fields("7 (a) b (c) S 1 7")[:2] == ["S", "1"]


def test_tree_costs_at_least_this_process() -> None:
    """The figures of a tree hold its root's."""
    pid = os.getpid()
    assert pid in processes.tree(pid)
    assert processes.cpu_seconds(pid) > 0
    assert processes.resident_kib(pid) > 1024


def test_owner_of_a_connection_is_found() -> None:
    """Of several processes the one is named that has the server's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Connection("127.0.0.1", 1) as closed:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            assert processes.serving([os.getppid(), os.getpid()], port, client.getsockname()[1]) == os.getpid()
            assert processes.serving([os.getpid()], port, closed.port_here) is None


def test_proportional_memory_is_no_more_than_resident() -> None:
    """Shared pages count in part."""
    assert 1000 < processes.proportional_kib(os.getpid()) <= processes.resident_kib(os.getpid())
