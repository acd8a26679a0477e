"""The models that are loaded: those of the published versions that allow live answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from prescore.errors import LiveUnavailable, NotAllowed, PrescoreError
from prescore.scoring import rows
from prescore_api.live.batching import BatchedScoring
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.cache import AnswerCache
from prescore_api.live.loading import ModelFiles
from prescore_api.tables.version import TableVersion

_RETRY_SECONDS = 1.0

_log = logging.getLogger("prescore_api")


class LoadedModel(NamedTuple):
    """The model of one version. A request keeps the one that it began with."""

    signature: dict[str, Any]
    scoring: BatchedScoring
    cache: AnswerCache


class LoadedModels:
    """Models by the id of their version. A model is kept while its version is published, or a request uses it."""

    def __init__(self, files: ModelFiles, bounds: LiveBounds) -> None:
        self._files = files
        self._bounds = bounds
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._failed_at: dict[str, float] = {}

    async def get(self, version: TableVersion) -> LoadedModel:
        """Return the model of a version, loaded if it is not yet; concurrent requests wait for the same load.

        Raises NotAllowed if the version does not allow live answers, and LiveUnavailable if it cannot be loaded, or not
        in time.
        """
        name = f"{version.model} version {version.version}"
        if not version.row["live"]:
            raise NotAllowed(
                f"{name} does not allow live answers. The model owner can allow them in the spec, with live.allowed."
            )
        task = self._start(version)
        try:
            async with asyncio.timeout(self._bounds.load_seconds):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise LiveUnavailable(f"The model file of {name} is still being loaded.") from error
        except NotAllowed:
            raise
        except PrescoreError as error:
            raise LiveUnavailable(f"The model file of {name} cannot be loaded: {error}") from error

    def follow(self, published: Iterable[TableVersion]) -> None:
        """Begin to load the published versions that allow live answers, and drop all others."""
        wanted = {version.id: version for version in published if version.row["live"]}
        for version_id in list(self._loading):
            if version_id not in wanted:
                self._drop(version_id)
        for version in wanted.values():
            self._start(version)

    def stop(self) -> None:
        """Drop all models."""
        for version_id in list(self._loading):
            self._drop(version_id)

    def _drop(self, version_id: str) -> None:
        self._failed_at.pop(version_id, None)
        self._loading.pop(version_id)

    def _start(self, version: TableVersion) -> asyncio.Task[LoadedModel]:
        """Return the task that loads a version; one that has failed is repeated, but not with every request."""
        task = self._loading.get(version.id)
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            if time.monotonic() - self._failed_at.get(version.id, 0.0) < _RETRY_SECONDS:
                return task
            task = None
        if task is None:
            task = asyncio.create_task(self._load(version))
            task.add_done_callback(partial(self._note, version))
            self._loading[version.id] = task
        return task

    async def _load(self, version: TableVersion) -> LoadedModel:
        loaded = await self._files.load(version)
        score = partial(rows.score, loaded.scorer)
        features = list(loaded.scorer.features)
        scoring = BatchedScoring(version.model, features, score, self._bounds)
        return LoadedModel(loaded.signature, scoring, AnswerCache(features))

    def _note(self, version: TableVersion, task: asyncio.Task[LoadedModel]) -> None:
        """Log how a load ended; a failure that repeats is logged once."""
        name = f"{version.model} version {version.version}"
        if task.cancelled() or version.id not in self._loading:
            return
        error = task.exception()
        if error is None:
            self._failed_at.pop(version.id, None)
            _log.info("%s answers live", name)
            return
        if version.id not in self._failed_at:
            _log.error("%s cannot answer live: %s", name, error)
        self._failed_at[version.id] = time.monotonic()
