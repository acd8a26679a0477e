"""The answers to the rows of an Arrow table: from the version's table by their keys, or by scoring their features."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pyarrow as pa

from prescore.errors import DatabaseUnavailable, RequestInvalid, TooOld
from prescore_api.formats import arrow
from prescore_api.live.attempts import attempts, no_attempt_left
from prescore_api.service.answers import Age, Answers
from prescore_api.service.clock import Clock
from prescore_api.service.live import (
    Features,
    LiveAnswers,
    LiveModel,
    ParseFeatures,
    Rejection,
    ScoredTable,
    Source,
    require_few,
)
from prescore_api.service.lookup import KeyColumns, Lookup, ParseKeys
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

_UNKNOWN_KEY = Rejection(None, "The table does not have this key, and the row has no features to score.")

Score = Callable[[str, ParseFeatures, int | None], Awaitable[LiveAnswers]]


class _NoFeatures(Exception):
    """The rows have a key and no features."""


class _NoKeys(Exception):
    """The rows have no key, or not all of its columns."""


class ArrowAnswers:
    """Answers the rows of tables. `score` scores features, as `LiveScoring.score` does."""

    def __init__(self, models: Models, lookup: Lookup, clock: Clock, score: Score) -> None:
        self._models = models
        self._lookup = lookup
        self._clock = clock
        self._score = score

    async def answer(self, model: str, table: pa.Table, prefer: Source, options: LookupOptions) -> ScoredTable:
        """Answer rows, all from one version; raises as `LiveScoring.answer_table`."""
        require_few(table.num_rows)
        if len(set(table.column_names)) < table.num_columns:
            raise RequestInvalid(f"The request has a column more than once: {', '.join(table.column_names)}.")
        async for wanted in attempts(self._models, model, options):
            answers = await self._find(model, table, wanted) if prefer == "table" else None
            rest = _unanswered(answers, table, options)
            if answers is not None and not rest:
                return self._of_table(answers)
            try:
                live = await self._score(model, _feature_parser(table, rest), options.version)
            except _NoFeatures:
                return await self._look_up(model, table, options)
            if answers is None or answers.table_version.id == live.model.table_version.id:
                return self._combined(answers, live, rest, table, options)
        raise no_attempt_left(model)

    async def _find(self, model: str, table: pa.Table, options: LookupOptions) -> Answers | None:
        """Return the table's answers; None if the rows have no key, or the table is too old or cannot be read."""
        try:
            return await self._lookup.find(model, _key_parser(table), options)
        except (_NoKeys, TooOld, DatabaseUnavailable):
            return None

    async def _look_up(self, model: str, table: pa.Table, options: LookupOptions) -> ScoredTable:
        """Answer rows without features from the table."""
        try:
            return self._of_table(await self._lookup.many(model, _key_parser(table), options))
        except _NoKeys as error:
            message = f"The request has neither the features of {model} nor its key."
            raise RequestInvalid(message) from error

    def _of_table(self, answers: Answers) -> ScoredTable:
        rejections = {number: _UNKNOWN_KEY for number, is_found in enumerate(answers.found) if not is_found}
        return ScoredTable(
            table_version=answers.table_version,
            age=answers.age,
            keys=answers.keys,
            selection=answers.selection,
            predictions=_found_values(answers),
            sources=["table"] * len(answers.found),
            data_as_of=_times(answers),
            rejections=rejections,
        )

    def _combined(
        self, answers: Answers | None, live: LiveAnswers, rest: Sequence[int], table: pa.Table, options: LookupOptions
    ) -> ScoredTable:
        """Return answers of the table, with those that were scored in the places of the rest."""
        version, rows = live.model.table_version, table.num_rows
        selection = version.select_outputs(options.outputs)
        predictions = [[None] * rows for _ in selection] if answers is None else _found_values(answers)
        sources: list[Source] = ["table"] * rows
        data_as_of = [0.0] * rows if answers is None else _times(answers)
        for place, number in enumerate(rest):
            sources[number], data_as_of[number] = "live", live.scored_at[place]
        for (_, name), column in zip(selection, predictions, strict=True):
            # Live answers have no passthrough columns.
            values = live.predictions.get(name) or [None] * len(rest)
            for number, value in zip(rest, values, strict=True):
                column[number] = value
        return ScoredTable(
            table_version=version,
            age=Age.at(version, self._clock.now()),
            keys=_keys(version, table),
            selection=selection,
            predictions=predictions,
            sources=sources,
            data_as_of=data_as_of,
            rejections={rest[place]: rejection for place, rejection in live.rejections.items()},
        )


def _keys(version: TableVersion, table: pa.Table) -> KeyColumns | None:
    """Return the keys of rows by column, None if they have none; raise KeyInvalid."""
    names = [column["name"] for column in version.key]
    if not set(names) <= set(table.column_names):
        return None
    return arrow.parse(version, table.select(names))


def _key_parser(table: pa.Table) -> ParseKeys:
    """Return what takes the keys out of a table."""

    def parse(version: TableVersion) -> KeyColumns:
        keys = _keys(version, table)
        if keys is None:
            raise _NoKeys
        return keys

    return parse


def _feature_parser(table: pa.Table, rows: Sequence[int]) -> ParseFeatures:
    """Return what takes the features of some rows out of a table."""

    def parse(live: LiveModel) -> Features:
        missing = [name for name in live.features if name not in table.column_names]
        if missing:
            if set(table.column_names) <= {column["name"] for column in live.table_version.key}:
                raise _NoFeatures
            raise RequestInvalid(
                f"The request has no column {', '.join(missing)}, which the model takes; its columns are "
                f"{', '.join(table.column_names)}."
            )
        chosen = table.select(list(live.features)).take(pa.array(rows, pa.int64())).combine_chunks()
        columns = {name: pa.concat_arrays(chosen.column(name).chunks) for name in chosen.column_names if len(rows)}
        return Features(columns or {name: [] for name in live.features}, len(rows))

    return parse


def _unanswered(answers: Answers | None, table: pa.Table, options: LookupOptions) -> list[int]:
    """Return the rows without an answer: their keys were not found, or the rows that a version keeps are too old."""
    if answers is None:
        return list(range(table.num_rows))
    version, kept = answers.table_version, answers.kept_ages
    too_old = {number for number, age in kept.items() if age.exceeded(version, options) is not None}
    return [number for number, is_found in enumerate(answers.found) if not is_found or number in too_old]


def _times(answers: Answers) -> list[float]:
    """Return the time of the inputs of each row, in seconds since 1970."""
    times = [answers.table_version.data_as_of] * len(answers.found)
    for number, age in answers.kept_ages.items():
        times[number] = age.data_as_of(answers.table_version).timestamp()
    return times


def _found_values(answers: Answers) -> list[list[Any]]:
    """Return the selected outputs by column, None where a key was not found."""
    columns = answers.outputs.to_lists([position for position, _ in answers.selection])
    return [
        [value if is_found else None for value, is_found in zip(column, answers.found, strict=True)]
        for column in columns
    ]
