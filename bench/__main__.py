"""The command: python -m bench."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine, musts, rows
from bench.client.load import build
from bench.page import page
from bench.peers import ALL, OURS, OURS_TWICE, OURS_WITHOUT_SYNC
from bench.peers.base import Absent, Peer
from bench.plot import svg
from bench.report import Report, Section, table, verdict_table
from bench.rounds import Course, scratch
from bench.rows.base import QUICK, Row, Scale

HERE = Path(__file__).resolve().parent
HOME = HERE / ".peers"
DOCS = HERE.parent / "docs"
EXAMPLES = """examples:
  python -m bench                                   everything, about half an hour
  python -m bench --quick --rows patch,head-32      a first look
  python -m bench --disk /var/tmp --save-docs       also on a real disk, and write docs/performance.md
"""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names, keys = [peer.name for peer in ALL], [row.key for row in rows.ALL]
    parser.add_argument("--quick", action="store_true", help="3 rounds, shorter measures")
    parser.add_argument("--rows", type=_some_of(keys), default=keys, help=f"some of {','.join(keys)}")
    parser.add_argument("--peers", type=_some_of(names), default=names, help=f"some of: {'; '.join(names)}")
    parser.add_argument("--rounds", type=int, help="samples of each measure; 7, with --quick 3")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where results.json, .md and .svg go")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="a folder on tmpfs")
    parser.add_argument("--disk", type=Path, help="a folder on a real disk, for the first rows once more")
    parser.add_argument("--save-docs", action="store_true", help="write docs/performance.md too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    peers, versions, left_out = prepare([peer for peer in ALL if peer.name in chosen.peers])
    rounds = chosen.rounds or (3 if chosen.quick else 7)
    scale = QUICK if chosen.quick else Scale()
    wanted = [row for row in rows.ALL if row.key in chosen.rows and (OURS in peers or not row.only_ours)]
    facts = machine.facts() | {"load before the run": f"{machine.load_average():.2f}"}
    sections = [measure(chosen.tmpfs, wanted, peers, rounds, scale)]
    if chosen.disk:
        sections.append(measure(chosen.disk, [row for row in wanted if row.again], peers, rounds, scale))
    verdicts = musts.judge(sections[0].outcomes) if OURS in peers else []
    command = "python -m bench " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    report = Report(command.strip(), facts, versions, left_out, rounds, chosen.quick, sections, verdicts)
    save(report, chosen.out, chosen.save_docs)
    if verdicts:
        print(f"\n{verdict_table(verdicts, wanted)}")
    print(f"\nSaved in {chosen.out}")
    return 0


def prepare(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """The servers that can be had, their versions, and why others cannot."""
    ready, versions, left_out = [], {}, {}
    for peer in peers:
        try:
            versions[peer.name] = peer.prepare(HOME)
            ready.append(peer)
            print(f"{peer.name} {versions[peer.name]}", flush=True)
        except Absent as why:
            left_out[peer.name] = str(why)
            print(f"{peer.name} is left out: {why}", flush=True)
    return ready, versions, left_out


def measure(parent: Path, wanted: Sequence[Row], peers: Sequence[Peer], rounds: int, scale: Scale) -> Section:
    """Run the rows below `parent`, printing each as it comes."""
    title, outcomes = f"On {machine.file_system(parent)}", {}
    with scratch(parent) as place:
        course = Course(place, rounds, scale, build(HOME))
        for row in wanted:
            outcomes[row.key] = course.run(row, [peer for peer in peers if _takes_part(peer, row)])
            print(f"\n{table(Section(title, [row], {row.key: outcomes[row.key]}))}", flush=True)
    return Section(title, wanted, outcomes)


def save(report: Report, folder: Path, docs: bool) -> None:
    """results.json, results.md and results.svg; the page of the documentation when `docs`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing = svg(report.sections[0], [OURS.name, OURS_TWICE.name, OURS_WITHOUT_SYNC.name])
    (folder / "results.json").write_text(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    (folder / "results.md").write_text(report.as_markdown())
    (folder / "results.svg").write_text(drawing)
    if docs:
        (DOCS / "performance.md").write_text(page(report.as_markdown()))
        (DOCS / "performance.svg").write_text(drawing)


def _takes_part(peer: Peer, row: Row) -> bool:
    if peer is OURS_WITHOUT_SYNC:
        return row.again
    if peer is OURS_TWICE:
        return row.many
    if not peer.takes_uploads:
        return row.by_any
    return peer.ours or not row.only_ours


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        names = [name.strip() for name in text.split(";" if ";" in text else ",")]
        if strange := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]} is none of {'; '.join(known)}")
        return names

    return chosen


if __name__ == "__main__":
    sys.exit(main())
