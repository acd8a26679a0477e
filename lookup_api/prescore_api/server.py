"""`prescore serve`: the app behind uvicorn, on a port of its own."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from prescore.contract.database import environment_database
from prescore.contract.errors import Mistake, PortTaken
from prescore_api.app import build


def serve(host: str, port: int) -> None:
    """Answer until told to stop. Raises Mistake without a database or address to use, DatabaseAway, PortTaken."""
    database = environment_database()
    database.require_migrated()
    with listen(host, port) as listening:
        sys.stderr.write(f"prescore: serving on {address(listening)} (what there is: {address(listening)}/docs)\n")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(configured(build(database))).run(sockets=[listening])


def configured(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves an app."""
    return uvicorn.Config(
        app, lifespan="on", ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=10
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one. Raises PortTaken or Mistake."""
    if not 0 <= port < 65536:
        raise Mistake(f"Ports are 0 to 65535, not {port}.")
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(where[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} on {host} is taken. Stop the program that has it, or choose another: --port {port + 1}."
            ) from error
        raise Mistake(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another --host or --port."
        ) from error


def address(listening: socket.socket) -> str:
    """Where a socket listens, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
