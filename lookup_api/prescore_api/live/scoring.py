"""Live scoring: score rows of features with the model of the published version, or answer them from its table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from prescore.errors import LiveUnavailable, NotFound
from prescore_api.formats import score_rows, scores
from prescore_api.live.arrow_answers import ArrowAnswers
from prescore_api.live.attempts import attempts, no_attempt_left
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.messages import BodyRequest, ColumnsRequest, Times
from prescore_api.live.models import LoadedModel, LoadedModels
from prescore_api.live.table_answers import TableAnswers, TableLookup
from prescore_api.service import metrics
from prescore_api.service.clock import Clock
from prescore_api.service.live import (
    LiveAnswers,
    LiveModel,
    ParseFeatures,
    RenderedAnswers,
    Source,
    require_few,
)
from prescore_api.service.lookup import Lookup
from prescore_api.service.models import Models
from prescore_api.service.options import DEFAULTS, LookupOptions
from prescore_api.service.poller import POLL_SECONDS, end
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

_log = logging.getLogger("prescore_api")


class Live:
    """Implements `prescore_api.service.live.LiveScoring`. As an async context manager it follows the published models.

    `place` is the store, a folder or a URL.
    """

    def __init__(
        self,
        reader: ReaderPool,
        models: Models,
        lookup: Lookup,
        clock: Clock,
        place: Path | str,
        bounds: LiveBounds | None = None,
    ) -> None:
        bounds = bounds or LiveBounds()
        self._models = models
        self._clock = clock
        self._loaded = LoadedModels(reader, place, bounds)
        self._table = TableLookup(models, lookup, clock, self._loaded.process, bounds)
        self._arrow = ArrowAnswers(models, lookup, clock, self._model)
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._loaded.process.start()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            await end(self._following)
        await self._loaded.process.stop()

    @property
    def runtime(self) -> str | None:
        """The release of ONNX Runtime that scores here, None before a model is loaded."""
        return self._loaded.runtime

    async def describe(self, model: str, version: int | None = None) -> LiveModel:
        """Return a model as it is scored now; raises NotFound, NotAllowed or LiveUnavailable."""
        published, loaded = await self._model(model, version)
        return loaded.describe(published)[0]

    async def score(self, model: str, parse: ParseFeatures, version: int | None = None) -> LiveAnswers:
        """Score a request's rows; raises as `LiveScoring.score`."""
        published, loaded = await self._model(model, version)
        live, _ = loaded.describe(published)
        features = parse(live)
        require_few(features.rows)
        request = ColumnsRequest(features.columns, features.rows, self._times())
        reply = await loaded.scoring.submit(request, features.rows)
        return LiveAnswers(live, reply.predictions, reply.rejections, reply.scored_at)

    async def answer(
        self, model: str, body: bytes, prefer: Source, options: LookupOptions = DEFAULTS
    ) -> RenderedAnswers:
        """Answer the rows in a body from the table and by scoring them; raises as `LiveScoring.answer`."""
        keyed = await self._table.keyed_rows(model, body, prefer)
        async for wanted in attempts(self._models, model, options):
            table = await self._table.answers(model, keyed, wanted)
            if table.version is not None and len(table.rendered) == keyed.rows:
                return _in_order(table.version, table)
            published, loaded = await self._model(model, options.version)
            if table.version is None:
                table = self._table.refusals(published, keyed, options)
            if table.version is not None and table.version.id == published.id:
                rows = keyed.rows or score_rows.count_rows(body)
                return await self._score_rest(published, loaded, body, rows, table, options)
        raise no_attempt_left(model)

    async def answer_arrow(
        self, model: str, body: bytes, prefer: Source, options: LookupOptions = DEFAULTS
    ) -> RenderedAnswers:
        """Answer the rows of an Arrow IPC stream; raises as `LiveScoring.answer_arrow`."""
        return await self._arrow.answer(model, body, prefer, options)

    async def _score_rest(
        self,
        version: TableVersion,
        loaded: LoadedModel,
        body: bytes,
        rows: int,
        table: TableAnswers,
        options: LookupOptions,
    ) -> RenderedAnswers:
        """Score those of a body's rows that the table has not answered."""
        _, frame = loaded.describe(version)
        outputs = version.select_outputs(options.outputs).names
        request = BodyRequest(body, table.rendered, frame, version.key, outputs, self._times())
        reply = await loaded.scoring.submit(request, max(rows - len(table.rendered), 1))
        return RenderedAnswers(version.version, reply.content)

    async def _model(self, model: str, number: int | None) -> tuple[TableVersion, LoadedModel]:
        version = await self._models.last_known(model)
        if number is not None and number != version.version:
            raise NotFound(
                f"{model} version {number} cannot score rows: live answers come from the published version alone, "
                f"which is {version.version}."
            )
        try:
            return version, await self._loaded.get(version)
        except LiveUnavailable:
            metrics.live_metrics(model).unavailable.inc()
            raise

    def _times(self) -> Times:
        return Times(self._clock.now(), time.monotonic())

    async def _follow(self) -> None:
        """Load what is published, in the background, so that the first request after a publication need not wait."""
        while True:
            try:
                self._loaded.follow(self._models.latest())
            # A bug of ours must not end the rounds. Requests load what they need.
            except Exception:
                _log.exception("following the published models failed")
            await asyncio.sleep(POLL_SECONDS)


def open_live(place: Path | str, bounds: LiveBounds | None = None) -> Callable[..., Live]:
    """Return what makes the live scoring of a service, from its reader, models, lookup and clock."""

    def make(reader: ReaderPool, models: Models, lookup: Lookup, clock: Clock) -> Live:
        return Live(reader, models, lookup, clock, place, bounds)

    return make


def _in_order(version: TableVersion, table: TableAnswers) -> RenderedAnswers:
    rendered = [table.rendered[number] for number in range(len(table.rendered))]
    return RenderedAnswers(version.version, scores.join(rendered))
