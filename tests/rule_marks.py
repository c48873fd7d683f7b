"""Which rules of the protocol there are (rules.toml), and which tests hold them.

The tests are read, not imported: a mark counts wherever its test stands, whether it can run here or not.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS / "rules.toml"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table; `stand` is empty where we follow the rule."""

    number: str
    section: str
    level: str
    binds: str
    says: str
    stand: str = ""

    @property
    def needs_test(self) -> bool:
        return self.binds == "server" and self.level in ("MUST", "EXPECTED") and not self.stand


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """One `@pytest.mark.rule(number)` on a test; `file` is relative to this folder."""

    number: str
    file: str
    test: str


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the table."""
    sections = tomllib.loads(TABLE.read_text(encoding="utf-8"))["section"]
    return tuple(
        Rule(number, section["title"], **line) for section in sections for number, line in section["rules"].items()
    )


@cache
def marks() -> tuple[Mark, ...]:
    """Every rule mark under this folder, sorted."""
    return tuple(sorted({mark for path in sorted(TESTS.rglob("test_*.py")) for mark in _marks_of(path)}))


def _marks_of(path: Path) -> Iterator[Mark]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    file = path.relative_to(TESTS).as_posix()
    inherited = _numbers(_module_marks(tree))
    for test, numbers in _tests(tree.body, inherited, ""):
        for number in numbers:
            yield Mark(number, file, test)


def _tests(body: list[ast.stmt], inherited: list[str], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Test functions and marked classes without any (a state machine, for instance), with the numbers they hold."""
    for node in body:
        if not isinstance(node, Definition):
            continue
        own = _numbers(list(node.decorator_list))
        if isinstance(node, ast.ClassDef) and _has_tests(node):
            yield from _tests(node.body, inherited + own, f"{prefix}{node.name}.")
        elif own or node.name.startswith("test"):
            yield prefix + node.name, inherited + own


def _has_tests(node: ast.ClassDef) -> bool:
    return any(isinstance(child, Definition) and child.name.startswith("test") for child in node.body)


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    """What `pytestmark = …` at the top of a module says."""
    return [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)
    ]


def _numbers(expressions: list[ast.expr]) -> list[str]:
    calls = (node for expression in expressions for node in ast.walk(expression) if isinstance(node, ast.Call))
    return [
        str(argument.value)
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.rule"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]
