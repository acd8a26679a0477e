"""`prescore serve`: the app behind uvicorn, in one process or in several that share a port."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing.connection
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from prescore.catalog import migrations
from prescore.catalog.database import Database, environment_database
from prescore.errors import Mistake, PortInUse

_MANY_OBJECTS = 20_000
_YIELD_SECONDS = 0.0001
_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"


_log = logging.getLogger("prescore_api")


@dataclass(frozen=True)
class Listening:
    """Where to serve, in how many processes, with which certificate, and behind whom."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    proxies: str = "127.0.0.1"


def serve(where: Listening, choices: dict[str, Any]) -> None:
    """Answer until told to stop; `choices` are those of `app.Choices`.

    Raises Mistake without a database, an address or a certificate to use, DatabaseUnavailable, PortInUse.
    """
    database = environment_database()
    migrations.require_readable(database)
    _require_certificate(where)
    with ExitStack() as stack:
        # Before the metrics are imported: they look at it then.
        if where.workers > 1:
            os.environ[_SHARED_METRICS] = stack.enter_context(tempfile.TemporaryDirectory(prefix="prescore-metrics-"))
        listening = stack.enter_context(listen(where.host, where.port))
        config = uvicorn_config(partial(_app, database, choices), where, _LOGS)
        url = address(listening, secure=config.is_ssl)
        sys.stderr.write(f"prescore: serving on {url} (what there is: {url}/docs)\n")
        stack.enter_context(suppress(KeyboardInterrupt))
        if where.workers > 1:
            _Workers(config, sockets=[listening]).run()
        else:
            _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """One process alone at its door, which it can close for good: who still queues there is told at once."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what has come, end."""
        for listening in sockets or []:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
        await super().shutdown(sockets)


class _Workers(Multiprocess):
    """Several processes at one door, whose end and replacement are told."""

    def terminate_all(self) -> None:
        """End them, and close the door: it is all of theirs, and would take requests that nobody answers."""
        super().terminate_all()
        for listening in self.sockets:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)

    def keep_subprocess_alive(self) -> None:
        """Put another in the place of one that has died."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old is not new:
                _log.error("worker %d ended with status %s; worker %d takes its place", old.pid, old.exitcode, new.pid)


def uvicorn_config(factory: Any, where: Listening | None = None, logs: dict[str, Any] | None = None) -> uvicorn.Config:
    """How uvicorn serves what a factory makes; `logs` configures logging."""
    from prescore_api.http.connections import Connection

    where = where or Listening()
    return uvicorn.Config(
        factory,
        factory=True,
        workers=where.workers,
        http=Connection,
        loop="uvloop",
        lifespan="on",
        ws="none",
        log_config=logs,
        access_log=False,
        server_header=False,
        backlog=2048,
        timeout_graceful_shutdown=10,
        ssl_certfile=where.tls_cert,
        ssl_keyfile=where.tls_key,
        forwarded_allow_ips=where.proxies,
    )


def _app(database: Database, choices: dict[str, Any]) -> Any:
    """In the process that serves: what a worker imports is imported there."""
    from prescore_api.http.app import ServerSettings, build

    app = build(database, ServerSettings(**choices))
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # Looking through all that is there for garbage took 70 ms, about once a second under load. What is imported by now
    # stays, and requests under way are many objects, but no garbage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MANY_OBJECTS)
    # A thread that sorts a model for memory gives way this often, and not every 5 ms: each request waits for several
    # turns of it.
    sys.setswitchinterval(_YIELD_SECONDS)
    return app


def _end_with(parent: int) -> None:
    """A worker that outlived the process that started it would keep the port, and nobody could end it by name."""
    multiprocessing.connection.wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def _require_certificate(where: Listening) -> None:
    """Read it now, and not in a worker that dies of it again and again."""
    if bool(where.tls_cert) != bool(where.tls_key):
        raise Mistake("TLS takes a certificate and its key: --tls-cert and --tls-key.")
    if where.tls_cert and where.tls_key:
        for name in (where.tls_cert, where.tls_key):
            if not Path(name).is_file():
                raise Mistake(f"There is no file {name}. Name the certificate and its key, both PEM files.")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(where.tls_cert, where.tls_key)
        except OSError as error:
            raise Mistake(f"The certificate cannot be used: {error}. Name PEM files that belong together.") from error


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one. Raises PortInUse or Mistake."""
    if not 0 <= port < 65536:
        raise Mistake(f"Ports are 0 to 65535, not {port}.")
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(where[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is taken. Stop the program that has it, or choose another: --port {port + 1}."
            ) from error
        raise Mistake(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another --host or --port."
        ) from error


def address(listening: socket.socket, *, secure: bool = False) -> str:
    """Where a socket listens, as a URL."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


# What goes wrong, one line each, on standard error; requests are in the access log on standard output.
_LOGS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # What the pool says of each of its attempts, the server says once.
    "loggers": {"prescore_api": {"level": "INFO"}, "psycopg.pool": {"level": "ERROR"}},
}
