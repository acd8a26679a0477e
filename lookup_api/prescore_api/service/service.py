"""The lookup service: everything behind the API's endpoints, independent of the transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from prescore.catalog.database import Database
from prescore.errors import Forbidden, NotAllowed, PrescoreError, Transient
from prescore_api.service import metrics
from prescore_api.service.auth import Caller
from prescore_api.service.canary import CanaryLookup
from prescore_api.service.clock import Clock
from prescore_api.service.live import LiveScoring
from prescore_api.service.lookup import Lookup
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Description, Models
from prescore_api.service.options import LookupOptions
from prescore_api.service.poller import Poller
from prescore_api.service.row_pages import RowPages
from prescore_api.service.tombstones import Tombstones
from prescore_api.tables.database import Bounds, ReaderPool
from prescore_api.tables.version import TableVersion


@dataclass(frozen=True)
class ServiceSettings:
    """Who may read, how much memory versions may take, and how long a lookup may wait.

    `open_to_all` turns authentication off, `open_metrics` for the metrics only. `memory_limit` is in bytes.
    """

    open_to_all: bool = False
    open_metrics: bool = False
    memory_limit: int = 1 << 30
    bounds: Bounds = field(default_factory=Bounds)


OpenLive = Callable[[ReaderPool, Models, Lookup, Clock], LiveScoring]
"""Makes what scores rows, from the parts of a service that it shares."""


class Service:
    """Serves lookups, models, health and metrics from a database.

    An async context manager: entering it opens the connections and starts to follow the catalog, leaving it stops both
    for good. `open_live` is given for a server that scores rows, too. Set `draining` once the server begins to shut
    down, so that it is no longer ready.
    """

    def __init__(self, database: Database, settings: ServiceSettings, open_live: OpenLive | None = None) -> None:
        self.settings = settings
        self.draining = False
        self._running = AsyncExitStack()
        self.reader = ReaderPool(database, settings.bounds)
        clock = self._clock = Clock()
        in_memory = InMemoryVersions(database, settings.memory_limit)
        self._models = Models(self.reader, in_memory, clock)
        self._poller = Poller(self.reader, self._models, in_memory, clock, open_to_all=settings.open_to_all)
        self.lookup = Lookup(self.reader, self._models, in_memory, clock)
        self.canary_lookup = CanaryLookup(self.lookup, self._models, in_memory)
        self._live = open_live(self.reader, self._models, self.lookup, clock) if open_live else None
        self.rows = RowPages(self.reader, self._models, clock)
        self.tombstones = Tombstones(self.reader, self._models, self.lookup)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(self.reader)
            starting.push_async_callback(self._poller.stop)
            await self._poller.start()
            if self._live is not None:
                await starting.enter_async_context(self._live)
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def live(self) -> LiveScoring:
        """Scores rows of features; raises NotAllowed on a server that was not started for it."""
        if self._live is None:
            raise NotAllowed("This server does not score rows. An operator can start it with `prescore serve --live`.")
        return self._live

    def now(self) -> float:
        """Return the time in seconds since 1970, by the database's clock."""
        return self._clock.now()

    def authenticate(self, authorization: bytes | None) -> Awaitable[Caller]:
        """Return the caller behind an Authorization header; raises Unauthenticated or DatabaseUnavailable."""
        return self._poller.caller(authorization)

    async def list_models(self, caller: Caller) -> list[Description]:
        """Return the published models that the caller may read, ordered by name; raises DatabaseUnavailable."""
        descriptions = await self._models.list_models()
        return [description for description in descriptions if caller.may_read(description["model"])]

    async def describe_model(self, caller: Caller, model: str) -> Description:
        """Return one published model; raises Forbidden, NotFound or DatabaseUnavailable."""
        caller.require(model)
        description = await self._models.describe(model)
        if description["live"] is not None:
            description["live"]["server_runtime"] = None if self._live is None else self._live.runtime
        return description

    async def version(self, caller: Caller, model: str, options: LookupOptions) -> TableVersion:
        """Return the version that lookups are answered from; raises Forbidden, NotFound or DatabaseUnavailable."""
        caller.require(model)
        return await self.lookup.version(model, options)

    async def require_model_ready(self, caller: Caller, model: str, options: LookupOptions) -> None:
        """Raise the reason why lookups in a model cannot be answered, such as TooOld; then raises like `version`."""
        version = await self.version(caller, model, options)
        self.lookup.require_age(version, options)
        if self.draining or not self.lookup.is_in_memory(version):
            self.require_ready()

    def require_ready(self) -> None:
        """Raise the reason why lookups cannot be answered; with every model in memory, Postgres may be away."""
        if self.draining:
            raise Transient("The server is shutting down.")
        try:
            self._poller.require_ready()
        except PrescoreError:
            if not self._models.all_in_memory():
                raise

    def metrics(self, caller: Caller, names: Collection[str] = ()) -> bytes:
        """Render the metrics of all models in Prometheus' text format: all of them, or those with these names.

        Raises Forbidden for an API key that opens only some models, unless metrics need no authentication.
        """
        if caller.models is not None and not self.settings.open_metrics:
            raise Forbidden("Metrics cover all models, and this API key opens only some.")
        return metrics.render(self._models.gauges(), names)
