"""The scoring process as its server sees it: started, called, and replaced when it ends or gets stuck."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from prescore.errors import LiveUnavailable
from prescore_api.live.bounds import LiveBounds
from prescore_api.service.poller import end

# -P keeps the working directory off the module path: a project may contain a secrets.py of its own.
_COMMAND = (sys.executable, "-P", "-m", "prescore_api.live.worker")
_READY = 0
_START_SECONDS = 10.0
_RESTART_SECONDS = 1.0
# How `multiprocessing.connection` precedes a message with its length; -1 and eight bytes for more than 2 GB.
_LENGTH = struct.Struct("!i")
_BUFFER = 1 << 20
# How many times the process is called during the time after which it counts as stuck.
_PINGS = 6

_ENDED = "The process that scores rows has ended during the request, and another is being started. Try again."

_log = logging.getLogger("prescore_api")


class ScoringProcess:
    """A child process, which is replaced when it ends; `on_end` is called then. It ends with its server.

    It is also replaced when it does not respond within the bounds, as one that was stopped by a signal. Parsing and
    scoring rows in the server would keep its event loop from answering lookups.
    """

    def __init__(self, on_end: Callable[[], None], bounds: LiveBounds) -> None:
        self._on_end = on_end
        self._bounds = bounds
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count(_READY + 1)
        self._ready = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, and wait a few seconds at most until it takes calls: lookups do not need it."""
        self._keeping = asyncio.create_task(self._keep())
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self._ready.wait()

    async def stop(self) -> None:
        """End the process for good."""
        if self._keeping is not None:
            await end(self._keeping)

    async def ready(self) -> None:
        """Wait until the process takes calls, as it does not while it is being replaced."""
        await self._ready.wait()

    async def call(self, name: str, *arguments: Any) -> Any:
        """Return what a method of `Worker` returns, or raise what it raises; raise LiveUnavailable if it cannot."""
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            self.send(name, *arguments, number=number)
            return await future
        finally:
            self._calls.pop(number, None)

    def replace(self, reason: str) -> None:
        """Kill the process, so that another replaces it; the log gives the reason. Calls raise LiveUnavailable."""
        if self._process is None:
            return
        _log.error("scoring process %d is killed: %s", self._process.pid, reason)
        self._process.kill()
        # A process that waits for a disk may take long to end.
        if self._writer is not None:
            self._writer.transport.abort()

    def send(self, name: str, *arguments: Any, number: int = _READY) -> None:
        """Call a method without waiting for its reply; raise LiveUnavailable while there is no process."""
        if self._writer is None:
            raise LiveUnavailable("The process that scores rows has ended, and another is being started. Try again.")
        content = pickle.dumps((number, name, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        self._writer.writelines([_LENGTH.pack(len(content)), content])

    async def _keep(self) -> None:
        """Run one process after the other."""
        while True:
            began = time.monotonic()
            # Without a process, nothing would ever be scored again.
            try:
                await self._run()
            except Exception:
                _log.exception("the scoring process cannot be run")
            # One that ends as soon as it starts must not take up the machine.
            await asyncio.sleep(began + _RESTART_SECONDS - time.monotonic())

    async def _run(self) -> None:
        """Run a process until it ends."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(_COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        self._process = process
        watching = asyncio.create_task(self._watch())
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=_BUFFER)
            await self._receive(reader)
        finally:
            watching.cancel()
            self._disconnect()
            process.kill()
            # The system takes a while to free its memory.
            await asyncio.to_thread(process.wait)
        _log.error("scoring process %d ended with status %s; another replaces it", process.pid, process.returncode)

    async def _watch(self) -> None:
        """Replace the process once it does not respond: its main thread answers a ping at once."""
        limit = self._bounds.start_seconds
        try:
            async with asyncio.timeout(limit):
                await self.ready()
            limit = self._bounds.stuck_seconds
            while True:
                async with asyncio.timeout(limit):
                    await self.call("ping")
                await asyncio.sleep(limit / _PINGS)
        except TimeoutError:
            self.replace(f"it has not responded for {limit:g} s")

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        """Resolve calls by their replies until the process ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                content = await reader.readexactly(length)
                number, is_error, result = pickle.loads(content)  # noqa: S301 - our own process wrote it
                future = self._calls.get(number)
                if number == _READY:
                    self._ready.set()
                elif future is not None and not future.done():
                    future.set_exception(result) if is_error else future.set_result(result)

    def _disconnect(self) -> None:
        self._ready.clear()
        self._process = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._on_end()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(LiveUnavailable(_ENDED))
