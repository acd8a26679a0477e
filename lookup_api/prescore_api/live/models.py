"""The models that are loaded: those of the published versions that allow live answers."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from prescore.catalog.queries import query
from prescore.errors import LiveUnavailable, NotAllowed, PrescoreError
from prescore.scoring import runtime
from prescore_api.formats.scores import ScoreFrame
from prescore_api.live.batching import BatchedCalls
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.messages import ModelLocation, ScoreReply, ScoreRequest
from prescore_api.live.process import ScoringProcess
from prescore_api.service.live import LiveModel
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

_RETRY_SECONDS = 1.0

_log = logging.getLogger("prescore_api")


class _Failure(NamedTuple):
    """Why a load failed, and when by the monotonic clock."""

    reason: str
    failed_at: float


class LoadedModel:
    """The model of one version in the scoring process. A request keeps the one that it began with."""

    def __init__(self, signature: dict[str, Any], scoring: BatchedCalls) -> None:
        self._signature = signature
        self.scoring = scoring
        self._described: tuple[LiveModel, ScoreFrame] | None = None

    def describe(self, version: TableVersion) -> tuple[LiveModel, ScoreFrame]:
        """Return its version as the catalog describes it now, and the frame of its answers."""
        if self._described is None or self._described[0].table_version is not version:
            self._described = LiveModel(version, self._signature), ScoreFrame.of_version(version, "live")
        return self._described


class LoadedModels:
    """Models by the id of their version. A model is kept while its version is published, or a request uses it.

    Their files are in the store at `place`, a folder or a URL. `runtime` is the release of ONNX Runtime that scores
    them, None before the first one is loaded.
    """

    def __init__(self, reader: ReaderPool, place: Path | str, bounds: LiveBounds) -> None:
        self._reader = reader
        self._place = place
        self._bounds = bounds
        self._numbers = count()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._failures: dict[str, _Failure] = {}
        self.process = ScoringProcess(self.forget, bounds)
        self.runtime: str | None = None

    async def get(self, version: TableVersion) -> LoadedModel:
        """Return the model of a version, loaded if it is not yet; concurrent requests wait for the same load.

        Raises NotAllowed if the version does not allow live answers, and LiveUnavailable if it cannot be loaded, or not
        in time.
        """
        task = self._loading.get(version.id)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        name = _name(version)
        if not version.row["live"]:
            raise NotAllowed(
                f"{name} does not allow live answers. The model owner can allow them in the spec, with live.allowed."
            )
        task = self._start(version)
        try:
            async with asyncio.timeout(self._bounds.load_seconds):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise LiveUnavailable(f"The model file of {name} is still being loaded. Try again.") from error
        # The process may have ended meanwhile: nothing is wrong with the file, and nothing about it is in the log.
        except (NotAllowed, LiveUnavailable):
            raise
        # The reason is in the log alone: it may name the store's address.
        except PrescoreError as error:
            message = f"The model file of {name} cannot be loaded. The server's log gives the reason."
            raise LiveUnavailable(message) from error

    def follow(self, published: Iterable[TableVersion]) -> None:
        """Begin to load the published versions that allow live answers, and drop all others."""
        wanted = {version.id: version for version in published if version.row["live"]}
        for version_id in list(self._loading):
            if version_id not in wanted:
                self._failures.pop(version_id, None)
                self._loading.pop(version_id)
        for version in wanted.values():
            self._start(version)

    def forget(self) -> None:
        """Drop all models, as the process that had loaded them did when it ended."""
        self._loading.clear()

    def _start(self, version: TableVersion) -> asyncio.Task[LoadedModel]:
        """Return the task that loads a version; one that has failed is repeated, but not with every request."""
        task = self._loading.get(version.id)
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            failure = self._failures.get(version.id)
            if failure is not None and time.monotonic() - failure.failed_at < _RETRY_SECONDS:
                return task
            task = None
        if task is None:
            task = asyncio.create_task(self._load(version))
            task.add_done_callback(partial(self._note, version))
            self._loading[version.id] = task
        return task

    async def _load(self, version: TableVersion) -> LoadedModel:
        """Load a model; raises NotAllowed if it has no signature or file, and what the scoring process raises."""
        described = await self._describe(version)
        fingerprint = version.row["model_fingerprint"]
        if fingerprint is None:
            raise NotAllowed(
                f"The predictions of {version.model} were made elsewhere: there is no model to score with."
            )
        (catalog,) = await self._reader.rows(query("catalog_name"), {})
        cache_seconds = version.row["live_cache_seconds"]
        signature = described["signature"]
        location = ModelLocation(_name(version), self._place, catalog["name"], fingerprint, signature, cache_seconds)
        await self.process.ready()
        number = next(self._numbers)
        self.runtime = await self._load_file(number, location)
        if difference := runtime.difference(described["runtime"], self.runtime):
            _log.warning("%s %s", _name(version), difference)
        scoring = BatchedCalls(version.model, partial(self._score, _name(version), number), self._bounds)
        # A request may use the model for longer than its version is published.
        weakref.finalize(scoring, self._drop, asyncio.get_running_loop(), number).atexit = False
        return LoadedModel(signature, scoring)

    async def _load_file(self, number: int, location: ModelLocation) -> str:
        """Have the scoring process load a model file; return the release of ONNX Runtime."""
        limit = self._bounds.reload_seconds
        try:
            async with asyncio.timeout(limit):
                release: str = await self.process.call("load", number, location)
        except TimeoutError as error:
            self._send_drop(number)
            raise LiveUnavailable(f"The store has not delivered the model file within {limit:g} s.") from error
        return release

    async def _score(self, name: str, number: int, requests: list[ScoreRequest]) -> list[ScoreReply | Exception]:
        """Have the scoring process score requests; nothing but its end ends a model that never returns."""
        limit = self._bounds.stuck_seconds
        try:
            async with asyncio.timeout(limit):
                replies: list[ScoreReply | Exception] = await self.process.call("score", number, requests)
        except TimeoutError as error:
            self.process.replace(f"{name} has computed for {limit:g} s")
            raise LiveUnavailable(
                f"{name} has not scored the rows within {limit:g} s. The process that scores rows is being replaced. "
                "Try again, with fewer rows."
            ) from error
        return replies

    def _drop(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        """Have the scoring process drop a model; any thread may call this, whenever it collects garbage."""
        # The loop is closed if its process is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._send_drop, number)

    def _send_drop(self, number: int) -> None:
        with suppress(LiveUnavailable):
            self.process.send("drop", number)

    async def _describe(self, version: TableVersion) -> dict[str, Any]:
        """Return a version's `signature`, and the `runtime` that scored its table."""
        parameters = {"model": version.model, "version": version.version, "id": version.id}
        rows = await self._reader.rows(query("lookup_signature"), parameters)
        if not rows:
            raise LiveUnavailable(f"{_name(version)} is not in the catalog any more.")
        if rows[0]["signature"] is None:
            raise NotAllowed(
                f"{_name(version)} has no signature in the catalog, so that nothing can be "
                f"scored with it. Make another version with `prescore run {version.model}`."
            )
        described: dict[str, Any] = rows[0]
        return described

    def _note(self, version: TableVersion, task: asyncio.Task[LoadedModel]) -> None:
        """Log how a load ended; one that fails again for the same reason is logged once."""
        if task.cancelled():
            return
        error = task.exception()
        if self._loading.get(version.id) is not task:
            return
        if error is None:
            self._failures.pop(version.id, None)
            _log.info("%s answers live", _name(version))
            return
        failure, known = _Failure(str(error), time.monotonic()), self._failures.get(version.id)
        if known is None or known.reason != failure.reason:
            _log.error("%s cannot answer live: %s", _name(version), error)
        self._failures[version.id] = failure


def _name(version: TableVersion) -> str:
    return f"{version.model} version {version.version}"
