"""The table of rules, the tests that hold them, and the page that shows both."""

from __future__ import annotations

from tests.protocol_page import PAGE, page
from tests.rule_marks import marks, rules

LEVELS = {"MUST", "SHOULD", "MAY", "EXPECTED", "ADVICE", "IMPL"}


def test_the_table_holds_every_rule_once_and_in_order() -> None:
    """The table names T1 to T130, each with a level, whom it binds and a sentence."""
    assert [rule.number for rule in rules()] == [f"T{number}" for number in range(1, 131)]
    assert {rule.level for rule in rules()} <= LEVELS
    assert {rule.binds for rule in rules()} <= {"server", "client", "none"}
    assert all(rule.says.endswith(".") for rule in rules())


def test_every_rule_that_binds_has_a_test() -> None:
    """A MUST or EXPECTED rule for servers that we follow is held by at least one test."""
    held = {mark.number for mark in marks()}
    assert [rule.number for rule in rules() if rule.needs_test and rule.number not in held] == []


def test_marks_name_known_rules() -> None:
    """No test claims a rule that is not in the table, or one that we do not follow."""
    followed = {rule.number for rule in rules() if not rule.stand}
    assert [mark for mark in marks() if mark.number not in followed] == []


def test_the_page_is_up_to_date() -> None:
    """docs/protocol.md is what the generator makes now; `python -m tests.protocol_page` makes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()
