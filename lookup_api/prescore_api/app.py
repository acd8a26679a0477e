"""The app: endpoints, errors and the connections that they share, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from prescore.contract.database import Database
from prescore_api import failures
from prescore_api.lookup import Lookup
from prescore_api.models import Models
from prescore_api.reader import Bounds, Reader
from prescore_api.routes import router


def build(database: Database, bounds: Bounds | None = None) -> FastAPI:
    """An ASGI app that answers from a database; it connects when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Reader(database, bounds or Bounds()) as reader:
            models = Models(reader)
            app.state.reader, app.state.models, app.state.lookup = reader, models, Lookup(reader, models)
            yield

    app = FastAPI(
        title="prescore",
        summary="Published predictions by key, honest about their age.",
        version=version("prescore"),
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.include_router(router)
    failures.register(app)
    return app
