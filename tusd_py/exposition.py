"""Figures in the form of Prometheus. Apart from metrics.py, because only a process that is scraped has to load this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tusd_py.figures import Figure, Histogram
from tusd_py.usage import usage


def exposition(figures: Iterable[Figure | Histogram], pids: Sequence[int], parent: int | None) -> tuple[bytes, str]:
    """The text and its content type; with what those processes use together."""
    registry = CollectorRegistry()
    registry.register(_Scrape([*usage(pids, parent), *map(_family, figures)]))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Scrape(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _family(figure: Figure | Histogram) -> Metric:
    name = f"tusd_py_{figure.name}"
    if isinstance(figure, Histogram):
        return HistogramMetricFamily(name, figure.help, buckets=figure.buckets, sum_value=figure.seconds)
    counts = figure.kind == "counter"
    family: CounterMetricFamily | GaugeMetricFamily = (
        CounterMetricFamily(f"{name}_total", figure.help, labels=figure.labels)
        if counts
        else GaugeMetricFamily(name, figure.help, labels=figure.labels)
    )
    for values, number in figure.values.items():
        family.add_metric(values, number)
    return family
