"""Build the ASGI app that serves a database over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from prescore.catalog.database import Database
from prescore_api.http.access_log import AccessLog
from prescore_api.http.dispatcher import Dispatcher
from prescore_api.service.service import Service, ServiceSettings


@dataclass(frozen=True)
class ServerSettings(ServiceSettings):
    """The service's settings, and whether to write an access log to standard output."""

    access_log: bool = False


def build(database: Database, settings: ServerSettings | None = None) -> Dispatcher:
    """Build the app. It connects to the database when the server starts it."""
    settings = settings or ServerSettings()
    return Dispatcher(Service(database, settings), AccessLog if settings.access_log else None)
