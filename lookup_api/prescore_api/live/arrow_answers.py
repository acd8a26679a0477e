"""The answers to the rows of an Arrow IPC stream: from the version's table by their keys, or by scoring their features.

The server reads the keys, as for any lookup. The scoring process reads the features, and writes the answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pyarrow as pa

from prescore.errors import DatabaseUnavailable, RequestInvalid, TooOld
from prescore_api.formats import arrow_scores
from prescore_api.live.arrow_rows import ArrowRows, NoKeys
from prescore_api.live.attempts import attempts, no_attempt_left
from prescore_api.live.messages import ArrowRequest
from prescore_api.live.models import LoadedModel
from prescore_api.service.answers import Age, Answers
from prescore_api.service.clock import Clock
from prescore_api.service.live import RenderedAnswers, Source
from prescore_api.service.lookup import Lookup
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

GetModel = Callable[[str, int | None], Awaitable[tuple[TableVersion, LoadedModel]]]
"""Returns the published version of a model, and its model as it is loaded."""


class ArrowAnswers:
    """Answers the rows of Arrow streams."""

    def __init__(self, models: Models, lookup: Lookup, clock: Clock, get_model: GetModel) -> None:
        self._models = models
        self._lookup = lookup
        self._clock = clock
        self._get_model = get_model

    async def answer(self, model: str, body: bytes, prefer: Source, options: LookupOptions) -> RenderedAnswers:
        """Answer rows, all from one version; raises as `LiveScoring.answer_arrow`."""
        rows = ArrowRows.read(body)
        if await self._are_keys_alone(model, rows):
            return await self._look_up(model, rows, options)
        async for wanted in attempts(self._models, model, options):
            found = None
            if prefer == "table":
                found = await self._find(model, rows, wanted)
            rest = rows.numbers if found is None else _unanswered(found, options)
            if found is not None and not rest:
                return self._render_found(found)
            version, loaded = await self._get_model(model, options.version)
            live_model, _ = loaded.describe(version)
            if not rows.have_features(live_model):
                return await self._look_up(model, rows, options)
            if found is not None and found.table_version.id != version.id:
                continue
            answers = await self._score(version, loaded, body, rest, options)
            if found is not None:
                answers = arrow_scores.merge(found, answers, rest)
            return self._render(version, answers)
        raise no_attempt_left(model)

    async def _are_keys_alone(self, model: str, rows: ArrowRows) -> bool:
        """Return whether rows have a key and not the features of a model, which need not be loaded then."""
        version = await self._models.last_known(model)
        if not rows.have_only(version.key_names):
            return False
        # Features may be columns of the key.
        try:
            features = await self._models.features(version)
        except DatabaseUnavailable:
            return False
        return features is None or not rows.have_all(features)

    async def _find(self, model: str, rows: ArrowRows, options: LookupOptions) -> Answers | None:
        """Return the table's answers; None if the rows have no key, or the table is too old or cannot be read."""
        try:
            return await self._lookup.find(model, rows.keys, options)
        except (NoKeys, TooOld, DatabaseUnavailable):
            return None

    async def _look_up(self, model: str, rows: ArrowRows, options: LookupOptions) -> RenderedAnswers:
        """Answer rows without features from the table."""
        try:
            answers = await self._lookup.many(model, rows.keys, options)
        except NoKeys as error:
            message = f"The request has neither the features of {model} nor its key."
            raise RequestInvalid(message) from error
        return self._render_found(answers)

    async def _score(
        self,
        version: TableVersion,
        loaded: LoadedModel,
        body: bytes,
        numbers: list[int],
        options: LookupOptions,
    ) -> pa.RecordBatch:
        """Return the answers of a version's model to the rows with some numbers."""
        selection = version.select_outputs(options.outputs)
        request = ArrowRequest(
            body=body,
            numbers=numbers,
            key=version.key,
            outputs=[version.outputs[position] for position in selection.positions],
            now=self._clock.now(),
        )
        reply = await loaded.scoring.submit(request, len(numbers))
        reader = pa.ipc.open_stream(reply.content)
        return reader.read_next_batch()

    def _render_found(self, found: Answers) -> RenderedAnswers:
        answers = arrow_scores.answer_from_table(found)
        return self._render(found.table_version, answers)

    def _render(self, version: TableVersion, answers: pa.RecordBatch) -> RenderedAnswers:
        age = Age.at(version, self._clock.now())
        content = arrow_scores.render(answers, version, age)
        return RenderedAnswers(version.version, content)


def _unanswered(answers: Answers, options: LookupOptions) -> list[int]:
    """Return the rows without an answer: their keys were not found, or the rows that a version keeps are too old."""
    version = answers.table_version
    numbers = []
    for number, is_found in enumerate(answers.found):
        age = answers.kept_ages.get(number)
        is_too_old = age is not None and age.exceeded(version, options)
        if not is_found or is_too_old:
            numbers.append(number)
    return numbers
