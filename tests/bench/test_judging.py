"""What the benchmark makes of its samples: medians, musts, tables, bars, a page."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET

import pytest

from bench import musts, rows
from bench.__main__ import _some_of, _takes_part
from bench.musts import Must, Verdict, judge
from bench.page import page
from bench.peers import ALL as PEERS
from bench.peers import OURS_TWICE
from bench.peers.nginx import Nginx
from bench.peers.tusd import Tusd
from bench.plot import svg
from bench.report import Report, Section, remark, table, verdict_table
from bench.rounds import Outcome, turned
from bench.rows.base import Metric, Row, Sample, Stage


def no_measure(_: Stage) -> Sample:
    return {}


ROW = Row("patch", "1 PATCH", (Metric("rate", "MiB/s", more_is_better=True), Metric("cpu", "CPU-s/GiB", 2)), no_measure)


def outcome(*rates: float) -> Outcome:
    return Outcome([{"rate": rate, "cpu": 1.0} for rate in rates])


def section() -> Section:
    found = {"tusd-py": outcome(100, 300, 200), "rustus": outcome(100), "@tus/server": Outcome(failed="it <died>")}
    return Section("On tmpfs", [ROW], {"patch": found})


def test_median_is_the_middle_sample() -> None:
    """One slow round does not move a figure."""
    assert outcome(5, 1000, 7).median("rate") == 7


def test_failed_and_unmeasured_have_no_median() -> None:
    """A failure after some samples takes the figure away."""
    assert Outcome([{"rate": 1.0}], "died").median("rate") is None
    assert Outcome().median("rate") is None


def test_order_moves_on_every_round() -> None:
    """Each server is the first one once."""
    assert [turned("abc", turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("must", "word"),
    [
        (Must("patch", "rate", True, 2.0, "rustus"), "met"),
        (Must("patch", "rate", True, 2.1, "rustus"), "NOT MET"),
        (Must("patch", "cpu", False, 1.0, "rustus"), "met"),
        (Must("patch", "cpu", False, 0.9, "rustus"), "NOT MET"),
        (Must("patch", "rate", True, 2.0, "@tus/server"), "not measured"),
        (Must("patch", "rate", True, 2.0, "tusd"), "not measured"),
        (Must("patch", "rate", False, 200), "met"),
    ],
)
def test_verdicts(must: Must, word: str) -> None:
    """A must is met at its bound, and is open while one side is missing."""
    assert [verdict.word for verdict in judge(section().outcomes, [must])] == [word]


def test_concatenation_stands_beside_cp_of_its_own_rounds() -> None:
    """`cp` is measured in the same rounds and judged as a peer."""
    row = {"concat": {"tusd-py": Outcome([{"ms": 120.0, "cp_ms": 100.0}])}}
    assert judge(row, [Must("concat", "ms", False, 1.2, musts.CP)])[0].reached == pytest.approx(1.2)


def test_musts_name_rows_metrics_and_peers_that_exist() -> None:
    """A misspelt must would never be judged."""
    metrics = {(row.key, metric.key) for row in rows.ALL for metric in row.metrics}
    names = {peer.name for peer in PEERS} | {musts.CP, ""}
    assert {(must.row, must.metric) for must in musts.ALL} <= metrics
    assert {must.beside for must in musts.ALL} <= names
    assert {must.server for must in musts.ALL} <= names


def test_musts_of_two_processes_are_judged_by_their_own_figures() -> None:
    """The server with two processes stands beside the one with one, and is named in the table."""
    row = {"patch": {"tusd-py": outcome(100), "tusd-py x2": outcome(140)}}
    [verdict] = judge(row, [musts.twice("patch", "rate", True, 1.4, "tusd-py")])
    assert verdict.met
    assert "1 PATCH, MiB/s (tusd-py x2) | ≥ 1.4 x tusd-py | 1.40 x" in verdict_table([verdict], [ROW])


def test_who_takes_part() -> None:
    """A server that takes no uploads is measured where it can be, this one with two processes where that counts."""
    by_any = {row.key for row in rows.ALL if _takes_part(Nginx(), row)}
    assert by_any == {"download"}
    assert not any(_takes_part(Tusd(), row) for row in rows.ALL if row.only_ours)
    assert {row.key for row in rows.ALL if row.many} == {row.key for row in rows.ALL if _takes_part(OURS_TWICE, row)}


def test_table_holds_medians_and_reasons() -> None:
    """A line for each metric, a column for each server, and why one failed."""
    assert table(section()).splitlines() == [
        "| measure | tusd-py | rustus | @tus/server |",
        "|---|---:|---:|---:|",
        "| 1 PATCH, MiB/s | 200 | 100 | failed |",
        "| 1 PATCH, CPU-s/GiB | 1.00 | 1.00 | failed |",
        "",
        "- 1 PATCH, @tus/server: failed: it <died>",
    ]


def test_verdict_table_shows_ratio_and_word() -> None:
    """What was demanded, what was reached, and the judgement stand in one line."""
    verdicts = [Verdict(Must("patch", "rate", True, 1.7, "rustus"), 1.5)]
    assert verdict_table(verdicts, [ROW]).splitlines()[-1] == "| 1 PATCH, MiB/s | ≥ 1.7 x rustus | 1.50 x | NOT MET |"


@pytest.mark.parametrize(
    ("through", "old_ended", "words"),
    [(1.0, 1.0, ""), (1.0, 0.0, "no lock"), (0.0, 0.0, "nothing got through")],
)
def test_takeover_is_told_from_a_missing_lock(through: float, old_ended: float, words: str) -> None:
    """A quick second PATCH is no merit where the first one goes on beside it."""
    said = remark(Outcome([{"ms": 1.0, "through": through, "old_ended": old_ended}]))
    assert said.startswith(words) if words else said == ""


def test_plot_is_well_formed_and_holds_every_server() -> None:
    """The drawing parses as XML and names all servers, failed ones too."""
    drawing = svg(section(), ["tusd-py"])
    texts = {element.text for element in ET.fromstring(drawing).iter() if element.text}
    assert {"tusd-py", "rustus", "@tus/server", "200", "failed"} <= texts


def test_report_keeps_every_sample_and_the_page_frames_it() -> None:
    """JSON has what medians hide; the page has the command."""
    report = Report("python -m bench", {"kernel": "Linux"}, {"rustus": "1"}, {}, 3, False, [section()], [])
    samples = report.as_json()["sections"]["On tmpfs"]["patch"]["tusd-py"]["samples"]
    assert [sample["rate"] for sample in samples] == [100, 300, 200]
    assert "Made by `python -m bench`" in page(report.as_markdown())


def test_unknown_names_on_the_command_line_are_refused() -> None:
    """A misspelt row says which there are."""
    choose = _some_of(["patch", "four"])
    assert choose("patch,four") == ["patch", "four"]
    with pytest.raises(argparse.ArgumentTypeError, match="petch is none of patch; four"):
        choose("petch")
