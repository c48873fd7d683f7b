"""The Dockerfile as a list of instructions, as far as it uses the language."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.acceptance.server import ROOT

WORDS = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `stage` counts from 0."""

    stage: int
    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The exec form, which is JSON; of a HEALTHCHECK, behind its flags and CMD."""
        form = self.rest.partition(" CMD ")[2] if self.name == "HEALTHCHECK" else self.rest
        words: list[str] = json.loads(form)
        return words


def instructions() -> list[Instruction]:
    """All of them, without comments, each on one line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", "")
    stage, found = -1, []
    for line in text.splitlines():
        if not line.strip():
            continue
        matched = WORDS.match(line)
        assert matched, line
        stage += matched[1] == "FROM"
        found.append(
            Instruction(stage, matched[1], " ".join(matched[2].split()) if matched[1] == "RUN" else matched[2])
        )
    return found


def named(name: str) -> list[Instruction]:
    return [instruction for instruction in instructions() if instruction.name == name]


def variables() -> dict[str, str]:
    """What the image sets."""
    return dict(pair.split("=", 1) for instruction in named("ENV") for pair in instruction.rest.split())
