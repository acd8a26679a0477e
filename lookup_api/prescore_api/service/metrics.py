"""What Prometheus reads: requests and lookups of all workers together, and the freshness of every published model.

With several workers each keeps its numbers in a file that all of them read: `PROMETHEUS_MULTIPROC_DIR`, which `serve`
sets. Names follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT = "text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_own = CollectorRegistry()
requests = Counter("prescore_http_requests", "Requests answered.", ["route", "method", "status"], registry=_own)
seconds = Histogram(
    "prescore_http_request_seconds", "Time to answer a request.", ["route"], buckets=_SECONDS, registry=_own
)
keys = Counter("prescore_lookup_keys", "Keys looked up: hits and misses.", ["model", "result"], registry=_own)
pool = Gauge(
    "prescore_pool_connections", "Connections to Postgres.", ["state"], registry=_own, multiprocess_mode="livesum"
)
waiting = Gauge(
    "prescore_pool_waiting", "Requests waiting for a connection.", registry=_own, multiprocess_mode="livesum"
)
up = Gauge("prescore_database_up", "1 while Postgres answers the server.", registry=_own, multiprocess_mode="livemin")
in_memory = Gauge(
    "prescore_in_memory_bytes", "Memory taken by a model.", ["model"], registry=_own, multiprocess_mode="livesum"
)
in_memory_refused = Gauge(
    "prescore_in_memory_refused",
    "1 for a model that is to be held in memory and is read from Postgres, because it is too large.",
    ["model"],
    registry=_own,
    multiprocess_mode="livemax",
)
# Of what `Models.told` tells: each is a gauge `prescore_model_<name>`.
_GAUGES = {
    "age_seconds": "Seconds since the time that the inputs of the published version describe.",
    "max_age_seconds": "The age promised, for models whose owner promises one.",
    "published_seconds": "Seconds since the version was published.",
    "stale": "1 while a model is older than promised.",
    "held": "1 while a model is on hold: nothing is published.",
    "version": "The published version.",
    "rows": "Rows of the published version.",
}


class _Freshness:
    """The models' gauges, as they are when they are asked for."""

    def __init__(self, models: Iterable[dict[str, Any]]) -> None:
        self._models = list(models)

    def collect(self) -> Iterator[Metric]:
        for name, said in _GAUGES.items():
            family = GaugeMetricFamily(f"prescore_model_{name}", said, labels=["model"])
            for model in self._models:
                if model[name] is not None:
                    family.add_metric([model["model"]], float(model[name]))
            yield family


@cache
def bound(route: str, method: str, status: int) -> tuple[Any, Any]:
    """The counter and the histogram of one kind of request; looking them up costs more than counting."""
    return requests.labels(route, method, str(status)), seconds.labels(route)


@cache
def looked_up(model: str) -> tuple[Any, Any]:
    """The counters of a model's hits and misses."""
    return keys.labels(model, "hit"), keys.labels(model, "miss")


def text(models: Iterable[dict[str, Any]]) -> bytes:
    """Everything in Prometheus' text format."""
    counted: Any = _own
    if SHARED in os.environ:
        counted = CollectorRegistry()
        _forget_the_dead(Path(os.environ[SHARED]))
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    freshness = CollectorRegistry()
    freshness.register(_Freshness(models))
    return generate_latest(counted) + generate_latest(freshness)


def _forget_the_dead(folder: Path) -> None:
    """What a worker that is gone had open or in memory, it has no more; what it counted stays."""
    for process in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        if not Path(f"/proc/{process}").exists():
            mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
