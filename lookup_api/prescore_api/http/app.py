"""Build the ASGI app that serves a database over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from prescore.catalog.database import Database
from prescore_api.http.access_log import AccessLog
from prescore_api.http.dispatcher import Dispatcher
from prescore_api.service.service import Service, ServiceSettings


@dataclass(frozen=True)
class ServerSettings(ServiceSettings):
    """The service's settings, and those of HTTP.

    `access_log` is whether to write one to standard output. Pages of the `origins` may read responses, `*` stands for
    all. `root_path` is what clients' URLs have before /v1, without a trailing slash.
    """

    access_log: bool = False
    origins: tuple[str, ...] = ()
    root_path: str = ""


def build(database: Database, settings: ServerSettings | None = None) -> Dispatcher:
    """Build the app. It connects to the database when the server starts it."""
    settings = settings or ServerSettings()
    return Dispatcher(
        Service(database, settings),
        AccessLog if settings.access_log else None,
        origins=settings.origins,
        root_path=settings.root_path,
    )
