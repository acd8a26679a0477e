"""The scoring process: loads models, and scores with them, as its server calls for.

It has a lower priority than the server, so that lookups come first where cores are scarce.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prescore.errors import PrescoreError
    from prescore_api.formats.score_rows import KeyedRows
    from prescore_api.live.messages import KeysRequest
    from prescore_api.live.scored_model import ScoredModel

READY = 0
"""The number of the reply that the process sends once it takes calls."""
_NICENESS = 10
_log = logging.getLogger("prescore_api")


class Worker:
    """Runs the calls that arrive on a connection, and sends their replies.

    A model scores in a thread of its own, so that a slow one holds up no other. Each is loaded in its own thread, too:
    a store that hangs must not keep others from loading.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._models: dict[int, ScoredModel] = {}
        # The models that the server has not dropped, which may still be loading.
        self._wanted: set[int] = set()
        self._storing = threading.Lock()
        self._threads: dict[int, ThreadPoolExecutor] = {}
        self._parsing = ThreadPoolExecutor(1)

    def run(self) -> None:
        """Run calls until the server closes its end of the connection, or ends."""
        self._send(_serialize(READY, None, is_error=False))
        while True:
            try:
                number, name, arguments = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - our own server's
            except (EOFError, OSError):
                return
            function: Callable[..., Any] = getattr(self, name)
            if name == "score":
                self._thread(arguments[0]).submit(self._reply, number, function, arguments)
            elif name == "parse_keyed":
                self._parsing.submit(self._reply, number, function, arguments)
            elif name == "drop":
                self.drop(*arguments)
            elif name == "ping":
                self._reply(number, function, arguments)
            else:
                self._wanted.add(arguments[0])
                threading.Thread(target=self._reply, args=(number, function, arguments), daemon=True).start()

    def load(self, model: int, location: Any) -> str:
        """Load a model, which later calls refer to by a number; return the release of ONNX Runtime."""
        from prescore.scoring.session import RUNTIME
        from prescore_api.live.loading import load, read
        from prescore_api.live.scored_model import ScoredModel

        file = read(location)
        # While a store hangs, the server gives up one load after the other. All may get their files at once.
        if model not in self._wanted:
            return RUNTIME
        scored = ScoredModel(load(file, location), location.cache_seconds)
        with self._storing:
            if model in self._wanted:
                self._models[model] = scored
        return RUNTIME

    def score(self, model: int, requests: Any) -> Any:
        """Return the outcomes of requests."""
        from prescore.errors import LiveUnavailable

        scored = self._models.get(model)
        # A request may have begun with a process that this one has replaced.
        if scored is None:
            raise LiveUnavailable("The process that scores rows was replaced during the request. Try again.")
        return scored.score(requests)

    def parse_keyed(self, requests: list[KeysRequest]) -> list[KeyedRows | PrescoreError]:
        """Return the rows of requests that are looked up in the table, or why a request is refused."""
        from prescore.errors import PrescoreError
        from prescore_api.formats import score_rows

        outcomes: list[KeyedRows | PrescoreError] = []
        for request in requests:
            # The others must not share the fate of one that is wrong.
            try:
                keyed = score_rows.parse_keyed(request.body, request.prefer)
                outcomes.append(keyed)
            except PrescoreError as error:
                outcomes.append(error)
        return outcomes

    def ping(self) -> None:
        """Show that the process responds."""

    def drop(self, model: int) -> None:
        """Forget a model, and end its thread after the calls that have arrived."""
        with self._storing:
            self._wanted.discard(model)
            self._models.pop(model, None)
        thread = self._threads.pop(model, None)
        if thread is not None:
            thread.shutdown(wait=False)

    def _thread(self, model: int) -> ThreadPoolExecutor:
        if model not in self._threads:
            self._threads[model] = ThreadPoolExecutor(1)
        return self._threads[model]

    def _reply(self, number: int, function: Callable[..., Any], arguments: Any) -> None:
        from prescore.errors import PrescoreError

        try:
            reply = _serialize(number, function(*arguments), is_error=False)
        except PrescoreError as error:
            reply = _serialize(number, error, is_error=True)
        # A bug of ours: the server logs it with the traceback, which an exception loses between processes.
        except Exception:
            bug = RuntimeError(f"in the scoring process: {traceback.format_exc()}")
            reply = _serialize(number, bug, is_error=True)
        self._send(reply)

    def _send(self, content: bytes) -> None:
        with self._sending:
            try:
                self._connection.send_bytes(content)
            except OSError:
                _log.debug("the server has ended")


def _serialize(number: int, result: Any, *, is_error: bool) -> bytes:
    return pickle.dumps((number, is_error, result), protocol=pickle.HIGHEST_PROTOCOL)


def _main() -> None:
    """Serve the socket on standard input."""
    # The server ends this process, by closing the socket. A terminal and a service manager send signals to both, and
    # requests that have arrived are answered before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # In a session of its own, a niceness would not count on a Linux that shares the cores between sessions first.
    os.nice(_NICENESS)
    # Imports take most of a second of a core, which lookups must not wait for.
    import prescore_api.live.loading
    import prescore_api.live.scored_model  # noqa: F401

    Worker(Connection(sys.stdin.fileno())).run()
    # A model or a store may be stuck, and its thread would be waited for.
    os._exit(0)


if __name__ == "__main__":
    _main()
