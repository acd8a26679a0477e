"""`prescore serve`: run the app in uvicorn, in one process or in several that share a port."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing.connection
import os
import re
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from prescore.catalog import migrations
from prescore.catalog.database import Database, environment_database
from prescore.errors import Mistake, PortInUse
from prescore_api.tables.scratch_folder import scratch_folder

if TYPE_CHECKING:
    from prescore_api.grpc.server import GrpcAddress

_BACKLOG = 2048
# How many ports after one in use are tried, to suggest one that is free.
_TRIED_PORTS = 100
_GC_THRESHOLD = 20_000
_SWITCH_SECONDS = 0.0001
_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/,*]+")
_ROOT_PATH = re.compile(r"(?!/(v[0-9]|health|metrics|docs|openapi\.json)(/|$))(/[A-Za-z0-9._~-]+)+")

_log = logging.getLogger("prescore_api")


@dataclass(frozen=True)
class Listening:
    """Where to listen, with how many processes and which certificate.

    `proxies` are the trusted proxies: addresses whose X-Forwarded-For header is used. `keep_alive` is for how many
    seconds an idle connection stays open: longer than a load balancer keeps one, which would otherwise send a request
    just when the server closes the connection. `grpc_port` None serves HTTP alone.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    proxies: str = "127.0.0.1"
    keep_alive: int = 75
    grpc_port: int | None = None


def serve(where: Listening, settings: dict[str, Any]) -> None:
    """Serve until a signal ends it; `settings` are those of `app.ServerSettings`.

    Raises Mistake if there is no usable database, address, certificate or setting, and DatabaseUnavailable or
    PortInUse.
    """
    _require_origins(settings.get("origins", ()))
    _require_root_path(settings.get("root_path", ""))
    database = environment_database()
    migrations.require_readable(database)
    _require_certificate(where)
    with ExitStack() as stack:
        # The metrics module reads this variable when it is imported.
        if where.workers > 1:
            os.environ[_SHARED_METRICS] = str(stack.enter_context(scratch_folder("prescore-metrics-")))
        listening = stack.enter_context(listen(where.host, where.port, reserved=where.grpc_port))
        grpc = _grpc_address(where, stack)
        config = uvicorn_config(partial(_app, database, {**settings, "grpc": grpc}), where, _LOGGING)
        url = address(listening, secure=config.is_ssl)
        sys.stderr.write(f"prescore: serving on {url} (status page: {url}/, endpoints: {url}/docs)\n")
        if grpc is not None:
            sys.stderr.write(f"prescore: serving gRPC on {grpc.target}\n")
        stack.enter_context(suppress(KeyboardInterrupt))
        if where.workers > 1:
            _Workers(config, sockets=[listening]).run()
        else:
            _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A single process. Closes the listening socket on shutdown, so that queued connections are refused immediately."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer the requests that have arrived, and end."""
        _stop_listening(sockets or [])
        await super().shutdown(sockets)


class _Workers(Multiprocess):
    """Several processes that share a listening socket. Logs when one dies and is replaced."""

    def terminate_all(self) -> None:
        """End all processes and stop listening, which this process has to do for all of them."""
        super().terminate_all()
        _stop_listening(self.sockets)

    def keep_subprocess_alive(self) -> None:
        """Replace processes that have died."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old is not new:
                _log.error("worker %d ended with status %s; worker %d replaces it", old.pid, old.exitcode, new.pid)


def _stop_listening(sockets: Iterable[socket.socket]) -> None:
    for listening in sockets:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def uvicorn_config(
    factory: Any, where: Listening | None = None, log_config: dict[str, Any] | None = None
) -> uvicorn.Config:
    """Configure uvicorn to serve the app that the factory builds."""
    where = where or Listening()
    return uvicorn.Config(
        factory,
        factory=True,
        workers=where.workers,
        # By name, so that only the processes that serve import it. A parent of workers that imported the metrics
        # would export values of its own.
        http="prescore_api.http.connections:Connection",
        loop="uvloop",
        lifespan="on",
        ws="none",
        log_config=log_config,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=where.keep_alive,
        ssl_certfile=where.tls_cert,
        ssl_keyfile=where.tls_key,
        forwarded_allow_ips=where.proxies,
    )


def _app(database: Database, settings: dict[str, Any]) -> Any:
    """Build the app in the process that serves, and tune that process."""
    from prescore_api.http.app import ServerSettings, build

    app = build(database, ServerSettings(**settings))
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # A full garbage collection took 70 ms, about once a second under load. What has been imported by now is never
    # garbage, and requests in progress are many objects without being garbage either.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    # A thread that sorts a version for memory lets requests in this often instead of every 5 ms, and each request
    # needs several turns.
    sys.setswitchinterval(_SWITCH_SECONDS)
    return app


def _end_with(parent: int) -> None:
    """End this worker when the process that started it ends: it would keep the port without a process to stop it by."""
    multiprocessing.connection.wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def _require_certificate(where: Listening) -> None:
    """Raise Mistake for an unusable certificate, before workers fail on it over and over."""
    if bool(where.tls_cert) != bool(where.tls_key):
        raise Mistake("TLS needs a certificate and its key. Use both --tls-cert and --tls-key.")
    if where.tls_cert and where.tls_key:
        for name in (where.tls_cert, where.tls_key):
            if not Path(name).is_file():
                raise Mistake(f"The file {name} does not exist. Name the certificate and its key, both PEM files.")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(where.tls_cert, where.tls_key)
        except OSError as error:
            raise Mistake(f"The certificate cannot be used: {error}. Name PEM files that belong together.") from error


def _require_origins(origins: Iterable[str]) -> None:
    """Raise Mistake for an origin that no browser would send."""
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise Mistake(
                f"{origin!r} is not an origin. Use a scheme and a host in lower case without a path, such as "
                "https://app.example.org, or * for every page."
            )


def _require_root_path(path: str) -> None:
    """Raise Mistake for a root path that is not one, or that is the beginning of our own paths."""
    if path and not _ROOT_PATH.fullmatch(path):
        raise Mistake(f"{path!r} is not a root path. Use, for example, /predictions; /v1, /health and /docs are taken.")


def _grpc_address(where: Listening, stack: ExitStack) -> GrpcAddress | None:
    """Reserve the port of gRPC, which each process opens by itself, and return where to serve; None without gRPC."""
    if where.grpc_port is None:
        return None
    from prescore_api.grpc.server import GrpcAddress

    # Processes share the port by an option of their sockets, with which they would also share that of another server.
    # A socket without that option finds out whether there is one.
    with listen(where.host, where.grpc_port, "--grpc-port") as free:
        family, name = free.family, free.getsockname()
    reserved = stack.enter_context(socket.socket(family))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(name)
    return GrpcAddress(name[0], name[1], where.tls_cert, where.tls_key)


def listen(host: str, port: int, option: str = "--port", reserved: int | None = None) -> socket.socket:
    """Open a listening socket; port 0 takes a free port. Raises PortInUse or Mistake, which name the option.

    PortInUse suggests a free port other than `reserved`, for which this server has another use.
    """
    if not 0 <= port < 65536:
        raise Mistake(f"{port} is not a valid port. Ports are 0 to 65535.")
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is in use. Stop the program that uses it, or choose another port: "
                f"{option} {_free_port(family, where[0], port, reserved)}."
            ) from error
        raise Mistake(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another --host or {option}."
        ) from error


def _free_port(family: socket.AddressFamily, host: str | int, port: int, reserved: int | None) -> int:
    """Return the next port that is free; 0, which takes any, if those after it are in use."""
    for candidate in range(port + 1, min(port + _TRIED_PORTS, 65535) + 1):
        if candidate == reserved:
            continue
        with suppress(OSError), socket.create_server((str(host), candidate), family=family):
            return candidate
    return 0


def address(listening: socket.socket, *, secure: bool = False) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


# Problems go to standard error, one line each. Requests go to the access log on standard output.
_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # The pool logs each of its attempts; the server itself logs once that the catalog cannot be read.
    "loggers": {"prescore_api": {"level": "INFO"}, "psycopg.pool": {"level": "ERROR"}},
}
