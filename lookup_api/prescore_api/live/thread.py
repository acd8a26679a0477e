"""A thread that runs functions for an event loop, one after the other."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
_Task = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class WorkerThread:
    """Runs one function at a time, until the object is gone.

    The process does not wait for the thread when it ends: a model or a store may be stuck.
    """

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        Thread(target=_work, args=(self._tasks,), name=name, daemon=True).start()
        weakref.finalize(self, self._tasks.put, None)

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Return a future for what a function returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._tasks.put((loop, future, function))
        return future


def _work(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        loop, future, function = task
        resolve: Callable[[], None]
        try:
            resolve = _success(future, function())
        # Whatever it is, the caller raises it.
        except BaseException as error:
            resolve = _failure(future, error)
        # The loop is closed if its process is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(resolve)
        # What the thread refers to must not outlive its caller.
        del task, loop, future, function, resolve


def _success(future: asyncio.Future[Any], result: Any) -> Callable[[], None]:
    def resolve() -> None:
        if not future.done():
            future.set_result(result)

    return resolve


def _failure(future: asyncio.Future[Any], error: BaseException) -> Callable[[], None]:
    def resolve() -> None:
        if not future.done():
            future.set_exception(error)
            # asyncio logs exceptions that are never retrieved, and the caller may have been cancelled.
            future.exception()

    return resolve
