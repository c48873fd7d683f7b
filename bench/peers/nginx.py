"""nginx: what it costs to send a file, where it is installed. It takes no uploads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.peers.base import Absent, Peer

CONFIGURATION = """
{user}
worker_processes auto;
pid {home}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log {home}/access.log;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /files/ {{ alias {home}/data/; }}
    }}
}}
"""


class Nginx(Peer):
    name = "nginx"
    takes_uploads = False

    def __init__(self) -> None:
        self.binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""

    def prepare(self, home: Path) -> str:
        if not self.binary:
            raise Absent("nginx is not installed")
        done = subprocess.run([self.binary, "-v"], check=False, capture_output=True, text=True)
        return done.stderr.strip().rpartition("/")[2]

    def command(self, port: int, data: Path) -> list[str]:
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not enter the folder
        file = data.parent / "nginx.conf"
        file.write_text(CONFIGURATION.format(user=user, home=data.parent, port=port))
        return [self.binary, "-e", "stderr", "-p", str(data.parent), "-c", str(file), "-g", "daemon off;"]
