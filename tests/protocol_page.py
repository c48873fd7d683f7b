"""Makes docs/protocol.md: every rule of the protocol with the tests that hold it. `python -m tests.protocol_page`"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.rule_marks import Mark, Rule, marks, rules

PAGE = Path(__file__).parent.parent / "docs" / "protocol.md"

PREFACE = """\
# The protocol, rule by rule

Made by `python -m tests.protocol_page` from `tests/rules.toml` and the marks of the tests; change those, not this page.

The rules are those of tus 1.0.0 and its extensions, in our own words. MUST, SHOULD and MAY are the specification's;
EXPECTED is what deployed clients or public test suites rely on where it is silent or weaker; ADVICE is our own
decision; IMPL is what other servers do. A rule that binds a server with MUST or EXPECTED has a test, or the test run
fails.
"""


def page() -> str:
    """The whole page as Markdown."""
    held = {number: list(group) for number, group in groupby(marks(), key=lambda mark: mark.number)}
    sections = groupby(rules(), key=lambda rule: rule.section)
    return "\n".join([PREFACE, *(_section(title, list(group), held) for title, group in sections)])


def _section(title: str, group: list[Rule], held: dict[str, list[Mark]]) -> str:
    head = [f"## {title}", "", "| rule | level | what it says | tests |", "|---|---|---|---|"]
    return "\n".join([*head, *(_line(rule, held.get(rule.number, [])) for rule in group), ""])


def _line(rule: Rule, held: list[Mark]) -> str:
    level = rule.level if rule.binds == "server" else f"{rule.level} ({rule.binds})".replace("none", "nobody")
    tests = "<br>".join(f"[{mark.test}](../tests/{mark.file})" for mark in held) or rule.stand or "-"
    return f"| {rule.number} | {level} | {rule.says} | {tests} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
