"""How commands speak: to people in lines, to scripts in JSON, one object a line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tusd_py.errors import StartError


class Teller:
    """Results go to stdout, everything else to stderr."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.json = as_json

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where there is none, as in a pipe or a file."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def tell(self, result: Mapping[str, Any], spelt: Callable[[Mapping[str, Any]], str]) -> None:
        """A result: `spelt` gives it for people, an empty text says nothing."""
        line = json.dumps(result, ensure_ascii=False) if self.json else spelt(result)
        if line:
            self.say(line)

    def say(self, line: str) -> None:
        """What a terminal's or a file's encoding lacks is replaced, not refused."""
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")

    def complain(self, sentence: str) -> None:
        print(f"tusd-py: {sentence}", file=sys.stderr)  # noqa: T201  # that is what it is for


def agreement(question: str) -> bool:
    """Whether whoever sits there says yes. Raises StartError if nobody can be asked."""
    if not sys.stdin.isatty():
        raise StartError(f"{question} Say so with --yes, since there is nobody to ask.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201  # a question
    return sys.stdin.readline().strip().lower() in ("y", "yes")
