"""A relay of TCP connections to the tests' Postgres, which may listen on a socket in a folder only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.conninfo import conninfo_to_dict


@contextmanager
def relay(url: str) -> Iterator[int]:
    """Relay connections to the server at a URL; yield the port on 127.0.0.1."""
    started: Future[tuple[int, Callable[[], None]]] = Future()
    thread = threading.Thread(target=asyncio.run, args=[_relay(conninfo_to_dict(url), started)])
    thread.start()
    port, stop = started.result()
    try:
        yield port
    finally:
        stop()
        thread.join()


async def _relay(parts: dict[str, Any], started: Future[tuple[int, Callable[[], None]]]) -> None:
    host, port = str(parts.get("host", "localhost")), parts.get("port", 5432)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if host.startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            # At the end of the relay, this task is canceled.
            for stream in (writer, far_writer):
                stream.close()
                with suppress(OSError):
                    await stream.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    started.set_result((server.sockets[0].getsockname()[1], stop))
    await stopped.wait()
    server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
