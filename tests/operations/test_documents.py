"""What the documents say of the code is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT
from tests.test_layers import EVERYTHING, MAY_IMPORT
from tusd_py.config import Options
from tusd_py.settings import RELOADABLE

OF_OTHERS = {"proxy_pass", "handle_path", "url_storage", "request_id"}
DOCS = sorted((ROOT / "docs").glob("*.md"))


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "examples" / "README.md", *DOCS], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to all of them."""
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in DOCS if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_import_table() -> None:
    """The table of the architecture is the one that the test of the layers holds."""
    told: dict[str, set[str]] = {}
    for folders, allowed in re.findall(
        r"^\| (`.+`) \| (.+) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE
    ):
        for folder in ticked(folders):
            told[folder] = set(EVERYTHING) if allowed == "everything" else set(ticked(allowed))
    assert told == {folder: set(allowed) for folder, allowed in MAY_IMPORT.items()}


def test_what_a_reload_takes_over() -> None:
    """The options that operations.md lists are those that SIGHUP takes over."""
    text = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    listed = ticked(text.partition("It takes over ")[2].partition(" What else ")[0])
    assert set(listed) == RELOADABLE
    assert set(Options.model_fields) >= RELOADABLE


@pytest.mark.parametrize("page", ["operations.md", "troubleshooting.md", "getting-started.md"])
def test_options_exist(page: str) -> None:
    """Every name in the tables and sentences of these pages that looks like an option is one."""
    names = {name for name in ticked((ROOT / "docs" / page).read_text()) if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)}
    assert {name for name in names if not name.startswith("tusd_py")} - OF_OTHERS <= set(Options.model_fields)
