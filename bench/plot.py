"""The medians as bars: one small chart a metric, drawn as SVG without any library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.report import Section, cell
from bench.rows.base import Metric, Row

WIDTH, BAR, GAP, HEAD, LABEL, COLUMNS = 460, 18, 6, 34, 150, 2
OURS, OTHER = "#1f6feb", "#8c959f"


def svg(section: Section, ours: Sequence[str]) -> str:
    """Charts of all metrics of a section, two in a line; servers in `ours` are drawn in blue."""
    charts = [_chart(row, metric, section, ours) for row in section.rows for metric in row.metrics if not row.only_ours]
    tallest = max((height for _, height in charts), default=0) + 14
    lines = -(-len(charts) // COLUMNS)
    placed = "".join(
        f'<g transform="translate({index % COLUMNS * WIDTH},{index // COLUMNS * tallest})">{drawn}</g>'
        for index, (drawn, _) in enumerate(charts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{lines * tallest}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{placed}</svg>\n'
    )


def _chart(row: Row, metric: Metric, section: Section, ours: Sequence[str]) -> tuple[str, int]:
    outcomes = section.outcomes[row.key]
    medians = {name: outcome.median(metric.key) for name, outcome in outcomes.items()}
    most = max((value for value in medians.values() if value is not None), default=0.0)
    better = "more is better" if metric.more_is_better else "less is better"
    title = f"{row.title}: {metric.title}"
    small = f'<tspan fill="#57606a" font-weight="normal"> ({better})</tspan>'
    drawn = [f'<text x="10" y="20" font-weight="bold">{escape(title)}{small}</text>']
    for index, (name, value) in enumerate(medians.items()):
        colour = OURS if name in ours else OTHER
        share = max(value, 0.0) / most if value is not None and most > 0 else 0.0
        drawn.append(_bar(index, name, share, cell(outcomes[name], metric), colour))
    return "".join(drawn), HEAD + len(medians) * (BAR + GAP)


def _bar(index: int, name: str, share: float, figure: str, colour: str) -> str:
    top, room = HEAD + index * (BAR + GAP), WIDTH - LABEL - 80
    length = round(share * room)
    return (
        f'<text x="{LABEL - 6}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LABEL}" y="{top}" width="{length}" height="{BAR}" fill="{colour}"/>'
        f'<text x="{LABEL + length + 5}" y="{top + 13}">{escape(figure)}</text>'
    )
