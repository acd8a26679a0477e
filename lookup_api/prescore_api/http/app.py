"""Build the ASGI app that serves a database over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prescore.catalog.database import Database
from prescore_api.http.dispatcher import Dispatcher
from prescore_api.service.access_log import AccessLog
from prescore_api.service.service import OpenLive, Service, ServiceSettings

if TYPE_CHECKING:
    from prescore_api.grpc.server import GrpcAddress


@dataclass(frozen=True)
class ServerSettings(ServiceSettings):
    """The service's settings, and those of HTTP.

    `access_log` is whether to write one to standard output. Pages of the `origins` may read responses, `*` stands for
    all. `root_path` is what clients' URLs have before /v1, without a trailing slash. gRPC is served
    at `grpc`, unless it is None. `store` has the model files that live answers are computed with: a folder, or a URL;
    None serves tables alone.
    """

    access_log: bool = False
    origins: tuple[str, ...] = ()
    root_path: str = ""
    grpc: GrpcAddress | None = None
    store: Path | str | None = None


def build(database: Database, settings: ServerSettings | None = None) -> Dispatcher:
    """Build the app. It connects to the database when the server starts it."""
    settings = settings or ServerSettings()
    service = Service(database, settings, _open_live(settings.store))
    return Dispatcher(
        service,
        AccessLog if settings.access_log else None,
        _grpc(service, settings.grpc),
        origins=settings.origins,
        root_path=settings.root_path,
    )


def _open_live(store: Path | str | None) -> OpenLive | None:
    if store is None:
        return None
    # The packages of the extra `live` are needed only here.
    from prescore_api.live.scoring import open_live

    return open_live(store)


def _grpc(
    service: Service, address: GrpcAddress | None
) -> Callable[[AccessLog | None], AbstractAsyncContextManager[object]] | None:
    if address is None:
        return None
    # The packages of the extra `oip` are needed only here.
    from prescore_api.grpc.server import GrpcServer

    return lambda access_log: GrpcServer(service, address, access_log)
