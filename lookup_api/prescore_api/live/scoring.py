"""Live scoring: score rows of features with the model of the published version, or answer them from its table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from prescore.catalog import keys
from prescore.errors import (
    DatabaseUnavailable,
    KeyInvalid,
    LiveUnavailable,
    NotFound,
    TooOld,
    Transient,
)
from prescore.scoring.predictions import to_lists
from prescore.scoring.rows import ScoredRows
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.cache import CachedAnswer
from prescore_api.live.loading import ModelFiles
from prescore_api.live.models import LoadedModel, LoadedModels
from prescore_api.service import metrics
from prescore_api.service.answers import Age, Answers
from prescore_api.service.clock import Clock
from prescore_api.service.live import (
    MAX_ROWS,
    MISSING,
    Features,
    Key,
    LiveAnswers,
    LiveModel,
    ParseFeatures,
    Rejection,
    ScoreAnswer,
    ScoreRow,
    Source,
    aside,
    too_many_rows,
)
from prescore_api.service.lookup import KeyColumns, Lookup
from prescore_api.service.models import Models
from prescore_api.service.options import DEFAULTS, LookupOptions
from prescore_api.service.poller import POLL_SECONDS, end
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

_ATTEMPTS = 10
_ByNumber = dict[int, ScoreAnswer]

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
        self._models = models
        self._lookup = lookup
        self._clock = clock
        self._loaded = LoadedModels(ModelFiles(reader, place), bounds or LiveBounds())
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            await end(self._following)
        self._loaded.stop()

    async def describe(self, model: str, version: int | None = None) -> LiveModel:
        """Return a model as it is scored now; raises NotFound, NotAllowed or LiveUnavailable."""
        live, _ = await self._model(model, version)
        return live

    async def score(self, model: str, parse: ParseFeatures, version: int | None = None) -> LiveAnswers:
        """Score a request's rows; raises as `LiveScoring.score`."""
        live, loaded = await self._model(model, version)
        features = parse(live)
        if features.rows > MAX_ROWS:
            raise too_many_rows(features.rows)
        return await self._score(live, loaded, features)

    async def answer(
        self, model: str, rows: Sequence[ScoreRow], prefer: Source, options: LookupOptions = DEFAULTS
    ) -> list[ScoreAnswer]:
        """Answer rows from the table and by scoring them; raises as `LiveScoring.answer`."""
        if len(rows) > MAX_ROWS:
            raise too_many_rows(len(rows))
        for _ in range(_ATTEMPTS):
            table = await self._look_up(model, rows, options) if prefer == "table" else {}
            if len(table) == len(rows):
                return list(table.values())
            live, loaded = await self._model(model, options.version)
            if _is_from(live.table_version, table):
                answers = table | await self._score_rest(live, loaded, rows, table, options)
                return [answers[number] for number in range(len(rows))]
            # A publication came in between.
            await self._models.current(model)
        raise Transient(f"{model} is published more often than a request can follow. Try again.")

    async def _score_rest(
        self,
        live: LiveModel,
        loaded: LoadedModel,
        rows: Sequence[ScoreRow],
        table: _ByNumber,
        options: LookupOptions,
    ) -> _ByNumber:
        """Return the answers to the rows that the table does not answer: scored, or rejected without features."""
        version = live.table_version
        rest = [number for number in range(len(rows)) if number not in table]
        scorable = [number for number in rest if rows[number].features is not None]
        chosen = [rows[number] for number in scorable]
        parsed = await aside(len(rows), partial(_parse_keys, version, rows))
        features = await aside(len(rows), partial(_features, live, chosen))
        scored = await self._score(live, loaded, features)
        answers = await aside(len(rows), partial(self._live_answers, scored, scorable, parsed, options))
        unknown = [number for number in rest if rows[number].features is None]
        return answers | {number: self._unknown(version, parsed[number]) for number in unknown}

    async def _model(self, model: str, number: int | None) -> tuple[LiveModel, LoadedModel]:
        version = await self._models.last_known(model)
        if number is not None and number != version.version:
            raise NotFound(
                f"{model} version {number} cannot score rows: live answers come from the published version alone, "
                f"which is {version.version}."
            )
        try:
            loaded = await self._loaded.get(version)
        except LiveUnavailable:
            metrics.live_refused.labels(model, "unavailable").inc()
            raise
        return LiveModel(version, loaded.signature), loaded

    async def _score(self, live: LiveModel, loaded: LoadedModel, features: Features) -> LiveAnswers:
        """Score rows, or repeat their answers if the spec allows that."""
        now = self._clock.now()
        cache_seconds = live.table_version.row["live_cache_seconds"]
        if cache_seconds:
            return await self._score_uncached(live, loaded, features, now, now - cache_seconds)
        scored = await loaded.scoring.submit(features.columns, features.rows)
        _count(live, features.rows, scored)
        return _answers(live, scored, [now] * features.rows)

    async def _score_uncached(
        self, live: LiveModel, loaded: LoadedModel, features: Features, now: float, not_before: float
    ) -> LiveAnswers:
        """Score the rows whose answers are not in the cache, or were computed before `not_before`."""
        keys_of_rows = loaded.cache.keys(features)
        answers = loaded.cache.find(keys_of_rows, not_before)
        metrics.live_rows.labels(live.table_version.model, "cached").inc(len(answers))
        rest = [number for number in range(features.rows) if number not in answers]
        # Arrow arrays are never answered from the cache.
        columns = features.columns
        if answers:
            columns = {name: [columns[name][number] for number in rest] for name in live.features}
        scored = await loaded.scoring.submit(columns, len(rest))
        _count(live, len(rest), scored)
        rejections = {rest[place]: rejection for place, rejection in scored.rejections.items()}
        for number, values in zip(rest, _rows(scored.predictions), strict=True):
            answers[number] = CachedAnswer(values, now)
            if number not in rejections:
                loaded.cache.add(keys_of_rows[number], answers[number])
        ordered = [answers[number] for number in range(features.rows)]
        predictions = _batch(scored.predictions.schema, [answer.values for answer in ordered])
        return _answers(live, ScoredRows(predictions, rejections), [answer.scored_at for answer in ordered])

    async def _look_up(self, model: str, rows: Sequence[ScoreRow], options: LookupOptions) -> _ByNumber:
        """Return the answers that the table has, by row number; none while it is too old or cannot be read."""
        numbers = [number for number, row in enumerate(rows) if row.key is not None]
        if not numbers:
            return {}

        def parse(version: TableVersion) -> KeyColumns:
            parsed = _parse_keys(version, rows)
            chosen = [parsed[number] or {} for number in numbers]
            return [[key[column["name"]] for key in chosen] for column in version.key]

        try:
            answers = await self._lookup.many(model, parse, options)
        except (TooOld, DatabaseUnavailable):
            if any(rows[number].features is None for number in numbers):
                raise
            return {}
        return _table_answers(answers, numbers)

    def _live_answers(
        self, answers: LiveAnswers, numbers: Sequence[int], parsed: Sequence[Any], options: LookupOptions
    ) -> _ByNumber:
        version, now = answers.model.table_version, self._clock.now()
        names = [name for _, name in version.select_outputs(options.outputs)]
        lists = answers.to_lists()
        columns = {name: lists[name] for name in names if name in lists}
        ages = {scored_at: Age(max(now - scored_at, 0.0), stale=False) for scored_at in set(answers.scored_at)}
        found = {}
        for place, number in enumerate(numbers):
            rejection = answers.rejections.get(place)
            prediction = None if rejection else {name: column[place] for name, column in columns.items()}
            scored_at = answers.scored_at[place]
            found[number] = ScoreAnswer(
                version, "live", parsed[number], prediction, rejection, scored_at, ages[scored_at]
            )
        return found

    def _unknown(self, version: TableVersion, key: Key | None) -> ScoreAnswer:
        """Return the answer to a row without features whose key the table does not have."""
        rejection = Rejection(None, "The table does not have this key, and the row has no features to score.")
        return ScoreAnswer(
            version, "table", key, None, rejection, version.data_as_of, Age.at(version, self._clock.now())
        )

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


def _is_from(version: TableVersion, answers: _ByNumber) -> bool:
    """Return whether all answers are from a version, as they are from one."""
    return all(answer.table_version.id == version.id for answer in islice(answers.values(), 1))


def _features(live: LiveModel, rows: Sequence[ScoreRow]) -> Features:
    names = list(live.features)
    given = [row.features or {} for row in rows]
    return Features({name: [features.get(name, MISSING) for features in given] for name in names}, len(rows))


def _parse_keys(version: TableVersion, rows: Sequence[ScoreRow]) -> list[dict[str, Any] | None]:
    """Return the keys of rows as the key of a version; raise KeyInvalid with the number of the row."""
    numbers = [number for number, row in enumerate(rows) if row.key is not None]
    try:
        columns = keys.parse_many(version.key, [rows[number].key for number in numbers])
    except KeyInvalid:
        for number in numbers:
            _require_key(version, number, rows[number].key or {})
        raise
    names = [column["name"] for column in version.key]
    parsed: list[dict[str, Any] | None] = [None] * len(rows)
    for number, values in zip(numbers, zip(*columns, strict=True), strict=True):
        parsed[number] = dict(zip(names, values, strict=True))
    return parsed


def _require_key(version: TableVersion, number: int, key: Key) -> None:
    try:
        keys.parse(version.key, key)
    except KeyInvalid as error:
        raise KeyInvalid(f"rows[{number}]: {error}") from error


def _table_answers(answers: Answers, numbers: Sequence[int]) -> _ByNumber:
    version, names = answers.table_version, [column["name"] for column in answers.table_version.key]
    positions = [position for position, _ in answers.selection]
    outputs = zip(*answers.outputs.to_lists(positions), strict=True)
    key_rows = zip(*answers.keys, strict=True)
    found = {}
    for number, is_found, key, values in zip(numbers, answers.found, key_rows, outputs, strict=True):
        if is_found:
            prediction = {name: value for (_, name), value in zip(answers.selection, values, strict=True)}
            as_dict = dict(zip(names, key, strict=True))
            found[number] = ScoreAnswer(version, "table", as_dict, prediction, None, version.data_as_of, answers.age)
    return found


def _answers(live: LiveModel, scored: ScoredRows, scored_at: Sequence[float]) -> LiveAnswers:
    rejections = {number: Rejection(each.column, each.reason) for number, each in scored.rejections.items()}
    return LiveAnswers(live, scored.predictions, rejections, scored_at, partial(to_lists, scored.predictions))


def _count(live: LiveModel, rows: int, scored: ScoredRows) -> None:
    model = live.table_version.model
    rejected = len(scored.rejections)
    if rows > rejected:
        metrics.live_rows.labels(model, "scored").inc(rows - rejected)
    if rejected:
        metrics.live_rows.labels(model, "rejected").inc(rejected)


def _rows(predictions: pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in predictions.columns), strict=True)


def _batch(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)
