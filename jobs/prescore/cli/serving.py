"""The command `serve`: lookups over HTTP and gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prescore.errors import Mistake

app = typer.Typer()
_PROXIES = "Trusted proxies: addresses whose X-Forwarded-For header is used."
Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the port.")]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="Serve clients without an API key.")]
OpenMetrics = Annotated[bool, typer.Option("--open-metrics", help="Serve /metrics without an API key.")]
AccessLog = Annotated[bool, typer.Option(help="Write a line of JSON per request to standard output.")]
MemoryLimit = Annotated[int, typer.Option(min=0, help="Megabytes for models in memory, in each process.")]
Certificate = Annotated[str | None, typer.Option(help="A certificate (PEM), to serve HTTPS.")]
PrivateKey = Annotated[str | None, typer.Option(help="Its private key (PEM).")]
Proxies = Annotated[str, typer.Option(help=_PROXIES)]
RootPath = Annotated[
    str, typer.Option(metavar="PATH", help="What clients' URLs have before /v1, such as /predictions.")
]
_ORIGINS = "An origin whose pages may read responses, such as https://app.example.org, or *. Can be repeated."
CorsOrigins = Annotated[list[str] | None, typer.Option(metavar="ORIGIN", help=_ORIGINS)]
GrpcPort = Annotated[
    int | None, typer.Option(help="Serve the Open Inference Protocol over gRPC, too, on this port; 0 takes a free one.")
]
Live = Annotated[
    bool, typer.Option("--live", help="Score rows, too, with the model files in the store that PRESCORE_STORE names.")
]
KeepAlive = Annotated[int, typer.Option(min=1, help="Seconds for which an idle connection stays open.")]


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    no_auth: NoAuth = False,
    open_metrics: OpenMetrics = False,
    access_log: AccessLog = True,
    memory_limit: MemoryLimit = 1024,
    tls_cert: Certificate = None,
    tls_key: PrivateKey = None,
    proxies: Proxies = "127.0.0.1",
    root_path: RootPath = "",
    cors_origin: CorsOrigins = None,
    keep_alive: KeepAlive = 75,
    grpc_port: GrpcPort = None,
    live: Live = False,
) -> None:
    """Serve lookups over HTTP, and over gRPC with --grpc-port. The database comes from PRESCORE_DATABASE_URL alone."""
    from prescore.public import extras

    with extras.needed("api"):
        from prescore_api.http import server
    if grpc_port is not None:
        extras.require(["oip"])
    store = None
    if live:
        extras.require(["live"])
        store = _store()

    options = {
        "open_to_all": no_auth,
        "open_metrics": open_metrics,
        "access_log": access_log,
        "memory_limit": memory_limit << 20,
        "origins": tuple(cors_origin or ()),
        "root_path": root_path.rstrip("/"),
        "store": store,
    }
    server.serve(server.Listening(host, port, workers, tls_cert, tls_key, proxies, keep_alive, grpc_port), options)


def _store() -> Path | str:
    """Return the place of the store that the environment names; raise Mistake."""
    from prescore.project.project import STORE, environment_store

    place = environment_store()
    if place is None:
        raise Mistake(
            f"--live reads model files from the store, and {STORE} names none. Set it to the store of the project: "
            "its folder, such as .prescore/store, or its URL."
        )
    if isinstance(place, Path) and not place.is_dir():
        raise Mistake(f"{STORE} is {place}, which is not a folder. Set it to the store of the project.")
    return place
