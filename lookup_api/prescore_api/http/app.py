"""The app: what answers, what follows the catalog, and the connections that they share, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from fastapi import FastAPI

from prescore.catalog.database import Database
from prescore_api.http import errors, openapi
from prescore_api.http.access_log import AccessLog
from prescore_api.http.dispatcher import OPEN, Dispatcher
from prescore_api.http.predictions import Predictions
from prescore_api.http.routes import router
from prescore_api.service.clock import Clock
from prescore_api.service.lookup import Lookup
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.service.poller import Poller
from prescore_api.tables.database import Bounds, ReaderPool


@dataclass(frozen=True)
class ServerSettings:
    """How to serve.

    `open_to_all` lets everybody read, `open_metrics` only /metrics. `memory_limit` is in bytes; `access_log` goes to
    standard output.
    """

    open_to_all: bool = False
    open_metrics: bool = False
    memory_limit: int = 1 << 30
    access_log: bool = False
    bounds: Bounds = field(default_factory=Bounds)


def build(database: Database, choices: ServerSettings | None = None) -> Dispatcher:
    """An ASGI app that answers from a database; it connects when it starts."""
    chosen = choices or ServerSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Dispatcher]]:
        async with ReaderPool(database, chosen.bounds) as reader:
            clock = Clock()
            in_memory = InMemoryVersions(database, chosen.memory_limit)
            models = Models(reader, in_memory, clock)
            app.state.reader, app.state.models, app.state.front = reader, models, front
            front.predictions = Predictions(Lookup(reader, models, in_memory, clock))
            front.watch = Poller(reader, models, in_memory, clock, open_to_all=chosen.open_to_all)
            front.log = AccessLog() if chosen.access_log else None
            await front.watch.start()
            try:
                yield {"front": front}
            finally:
                await front.watch.stop()
                if front.log is not None:
                    front.log.close()

    pages = FastAPI(
        title="prescore",
        summary="Published predictions by key, honest about their age.",
        version=version("prescore"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    pages.include_router(router)
    errors.register(pages)
    openapi.describe(pages)
    front = Dispatcher(pages, OPEN | ({"/metrics"} if chosen.open_metrics else set()))
    return front
