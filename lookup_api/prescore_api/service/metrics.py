"""Metrics for Prometheus: the requests and lookups of all workers, and the freshness of every published model.

With several workers, each keeps its values in a file in the folder `PROMETHEUS_MULTIPROC_DIR`, which `serve` sets. Any
worker adds them up. Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_registry = CollectorRegistry()
requests = Counter("prescore_http_requests", "HTTP requests.", ["route", "method", "status"], registry=_registry)
seconds = Histogram(
    "prescore_http_request_seconds",
    "Time from the end of a request's headers to its response, in seconds.",
    ["route"],
    buckets=_BUCKETS,
    registry=_registry,
)
grpc_requests = Counter("prescore_grpc_requests", "Calls over gRPC.", ["method", "code"], registry=_registry)
grpc_seconds = Histogram(
    "prescore_grpc_request_seconds",
    "Time from the message of a call to its response, in seconds.",
    ["method"],
    buckets=_BUCKETS,
    registry=_registry,
)
keys = Counter("prescore_lookup_keys", "Keys looked up, by hit or miss.", ["model", "result"], registry=_registry)
canary_keys = Counter(
    "prescore_canary_keys",
    "Those of the keys looked up that a canary answered, by its version, and by hit or miss.",
    ["model", "version", "result"],
    registry=_registry,
)
pool = Gauge(
    "prescore_pool_connections",
    "Postgres connections, open and idle.",
    ["state"],
    registry=_registry,
    multiprocess_mode="livesum",
)
waiting = Gauge(
    "prescore_pool_waiting",
    "Requests waiting for a Postgres connection.",
    registry=_registry,
    multiprocess_mode="livesum",
)
up = Gauge(
    "prescore_database_up",
    "1 if the catalog can be read, 0 otherwise.",
    registry=_registry,
    multiprocess_mode="livemin",
)
in_memory = Gauge(
    "prescore_in_memory_bytes",
    "Memory used by a model's version, in bytes.",
    ["model"],
    registry=_registry,
    multiprocess_mode="livesum",
)
in_memory_refused = Gauge(
    "prescore_in_memory_refused",
    "1 if a model exceeds --memory-limit and is read from Postgres instead, 0 otherwise.",
    ["model"],
    registry=_registry,
    multiprocess_mode="livemax",
)
live_rows = Counter(
    "prescore_live_rows",
    "Rows of live answers, by result: scored, cached or rejected.",
    ["model", "result"],
    registry=_registry,
)
live_refused = Counter(
    "prescore_live_refused",
    "Requests for live answers that were refused, by reason: overloaded or unavailable.",
    ["model", "reason"],
    registry=_registry,
)
live_queue_rows = Gauge(
    "prescore_live_queue_rows",
    "Rows that wait to be scored.",
    ["model"],
    registry=_registry,
    multiprocess_mode="livesum",
)
live_batch_rows = Histogram(
    "prescore_live_batch_rows",
    "Rows that a model scored together.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 10_000),
    registry=_registry,
)
live_wait_seconds = Histogram(
    "prescore_live_wait_seconds",
    "Time that a request for live answers waited for others, in seconds.",
    ["model"],
    buckets=_BUCKETS,
    registry=_registry,
)
# Each is exported as the gauge `prescore_model_<name>`, from the field of that name in `Models.gauges`.
_MODEL_GAUGES = {
    "age_seconds": "Age of the published version's data (now - data_as_of), in seconds.",
    "max_age_seconds": "The model's max age, in seconds. Missing for models without one.",
    "published_seconds": "Time since the version was published, in seconds.",
    "stale": "1 if the published version is older than the model's max age, 0 otherwise.",
    "held": "1 if the model is on hold, so that runs do not publish, 0 otherwise.",
    "version": "Number of the published version.",
    "rows": "Rows in the published version.",
    "canary_version": "Number of the canary. Missing for models without one.",
    "canary_share": "The share of the keys that the canary answers, from 0 to 1; 0 in shadow.",
}


class _ModelGauges:
    """A collector of gauges whose values are given for one scrape."""

    def __init__(self, models: Iterable[dict[str, Any]]) -> None:
        self._models = list(models)

    def collect(self) -> Iterator[Metric]:
        for name, help_text in _MODEL_GAUGES.items():
            family = GaugeMetricFamily(f"prescore_model_{name}", help_text, labels=["model"])
            for model in self._models:
                if model[name] is not None:
                    family.add_metric([model["model"]], float(model[name]))
            yield family


@cache
def request_metrics(route: str, method: str, status: int) -> tuple[Any, Any]:
    """Return the counter and the histogram of one kind of request. Resolving labels costs more than counting."""
    return requests.labels(route, method, str(status)), seconds.labels(route)


@cache
def grpc_metrics(method: str, code: str) -> tuple[Any, Any]:
    """Return the counter and the histogram of one kind of call."""
    return grpc_requests.labels(method, code), grpc_seconds.labels(method)


def count_lookups(model: str | None, version: int | None, sent: int, found: int) -> None:
    """Count the keys that a request sent and those that were found."""
    # A version is known only if the model exists, so clients cannot create labels with model names.
    if model is None or version is None:
        return
    hits, misses = _lookup_counters(model)
    if found:
        hits.inc(found)
    if sent > found:
        misses.inc(sent - found)


class CanaryKeys(NamedTuple):
    """The keys of a request that a canary answered: its version, how many they were, and how many of them it has."""

    version: int
    sent: int
    found: int


def count_canary(model: str, answered: CanaryKeys) -> None:
    """Count the keys that a canary answered."""
    for result, number in (("hit", answered.found), ("miss", answered.sent - answered.found)):
        if number:
            canary_keys.labels(model, str(answered.version), result).inc(number)


@cache
def _lookup_counters(model: str) -> tuple[Any, Any]:
    """Return the counters of a model's hits and misses."""
    return keys.labels(model, "hit"), keys.labels(model, "miss")


class LiveMetrics(NamedTuple):
    """The metrics of a model's live answers."""

    scored: Any
    cached: Any
    rejected: Any
    overloaded: Any
    unavailable: Any
    queue_rows: Any
    batch_rows: Any
    wait_seconds: Any


@cache
def live_metrics(model: str) -> LiveMetrics:
    """Return the metrics of a model's live answers."""
    return LiveMetrics(
        scored=live_rows.labels(model, "scored"),
        cached=live_rows.labels(model, "cached"),
        rejected=live_rows.labels(model, "rejected"),
        overloaded=live_refused.labels(model, "overloaded"),
        unavailable=live_refused.labels(model, "unavailable"),
        queue_rows=live_queue_rows.labels(model),
        batch_rows=live_batch_rows.labels(model),
        wait_seconds=live_wait_seconds.labels(model),
    )


class _Selection:
    """A collector of those time series of another one that have one of these names."""

    def __init__(self, collector: Any, names: Collection[str]) -> None:
        self._collector = collector
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._collector.collect():
            family.samples = [sample for sample in family.samples if sample.name in self._names]
            if family.samples:
                yield family


def render(models: Iterable[dict[str, Any]], names: Collection[str] = ()) -> bytes:
    """Render all metrics, or those with these names, in Prometheus' text format; `models` are `Models.gauges`."""
    process_metrics: Any = _registry
    if SHARED in os.environ:
        process_metrics = CollectorRegistry()
        _drop_dead_workers(Path(os.environ[SHARED]))
        MultiProcessCollector(process_metrics)  # type: ignore[no-untyped-call]
    model_metrics = CollectorRegistry()
    model_metrics.register(_ModelGauges(models))
    parts = []
    for collector in (process_metrics, model_metrics):
        selected: Any = _Selection(collector, names) if names else collector
        parts.append(generate_latest(selected))
    return b"".join(parts)


def _drop_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that have ended, such as open connections. Their counters are kept."""
    processes = set()
    for file in folder.glob("gauge_live*_*.db"):
        _, _, process_id = file.stem.rpartition("_")
        processes.add(int(process_id))
    for process in processes:
        if not Path(f"/proc/{process}").exists():
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
