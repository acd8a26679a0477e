"""A function that a thread calls at intervals while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beating(beat: Callable[[], bool], seconds: float, *, awaited: bool = True) -> Iterator[None]:
    """Call `beat` every so many seconds until it returns False or the block ends.

    If the last call is not `awaited`, it may outlast the block, and ends with the process.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            if not beat():
                return

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        if awaited:
            thread.join()
