"""Show the configuration in effect, where each value comes from, and test what can be tested."""

from __future__ import annotations

import argparse

from tusd_py.cli import flags, probes
from tusd_py.config import Loaded

arguments = flags.add


def run(arguments: argparse.Namespace) -> int:
    loaded = flags.read(arguments)
    print(_table(loaded))
    findings = list(probes.all_of(loaded.settings))
    for finding in findings:
        print(f"{finding.verdict.value:8} {finding.sentence}")
    return 1 if any(finding.verdict is probes.Verdict.FAILED for finding in findings) else 0


def _table(loaded: Loaded) -> str:
    lines = [(f"{key} = {value}", loaded.origins[key]) for key, value in loaded.options.spelt().items()]
    width = min(48, max(len(text) for text, _ in lines))
    return "\n".join(f"{text:{width}}  {origin}" for text, origin in lines) + "\n"
