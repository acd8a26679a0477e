"""The answers that the table has for the rows of a request for scores."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from prescore.errors import DatabaseUnavailable, LiveUnavailable, PrescoreError, TooOld
from prescore_api.formats import score_rows, scores
from prescore_api.formats.score_rows import NOTHING_KEYED, KeyedRows
from prescore_api.live.batching import BatchedCalls
from prescore_api.live.bounds import LiveBounds
from prescore_api.live.messages import KeysRequest
from prescore_api.live.process import ScoringProcess
from prescore_api.service import kept
from prescore_api.service.answers import Age, Answers
from prescore_api.service.clock import Clock
from prescore_api.service.live import Source
from prescore_api.service.lookup import KeyColumns, Lookup
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

_LONG = 16_384
"""A body of more bytes is parsed by the scoring process, so that lookups need not wait for it."""


class TableAnswers(NamedTuple):
    """Answers as JSON, by row number, all from one version; None if no key was looked up."""

    version: TableVersion | None
    rendered: dict[int, bytes]


NO_ANSWERS = TableAnswers(None, {})


class TableLookup:
    """Looks up the keys of requests for scores."""

    def __init__(
        self, models: Models, lookup: Lookup, clock: Clock, process: ScoringProcess, bounds: LiveBounds
    ) -> None:
        self._models = models
        self._lookup = lookup
        self._clock = clock
        self._process = process
        self._bounds = bounds
        self._parsing: dict[str, BatchedCalls] = {}

    async def keyed_rows(self, model: str, body: bytes, prefer: Source) -> KeyedRows:
        """Return the rows in a body that are looked up.

        Raises RequestInvalid, TooLarge, NotFound, LiveUnavailable, and Overloaded if too many rows wait to be read.
        """
        if not score_rows.may_have_keys(body):
            return NOTHING_KEYED
        if len(body) <= _LONG:
            return score_rows.parse_keyed(body, prefer)
        if model not in self._parsing:
            # A client must not make queues for names that are those of no model.
            await self._models.last_known(model)
            self._parsing.setdefault(model, BatchedCalls(model, self._parse, self._bounds, scores=False))
        return await self._parsing[model].submit(KeysRequest(body, prefer), score_rows.count_rows(body))

    async def _parse(self, requests: list[KeysRequest]) -> list[KeyedRows | PrescoreError]:
        """Have the scoring process read the rows of requests."""
        try:
            async with asyncio.timeout(self._bounds.load_seconds):
                await self._process.ready()
        except TimeoutError as error:
            raise LiveUnavailable("The process that scores rows is still being started. Try again.") from error
        outcomes: list[KeyedRows | PrescoreError] = await self._process.call("parse_keyed", requests)
        return outcomes

    async def answers(self, model: str, keyed: KeyedRows, options: LookupOptions) -> TableAnswers:
        """Return the answers that the table has; none while it is too old or cannot be read.

        They include those to rows without features whose keys it does not have, or whose kept rows are too old. Raises
        as `Lookup.many` if no row has features, and DatabaseUnavailable if some have none.
        """
        if not keyed.numbers:
            return NO_ANSWERS

        def parse(version: TableVersion) -> KeyColumns:
            return score_rows.parse_keys(version.key, keyed.keys, keyed.numbers)

        try:
            answers = await self._lookup.find(model, parse, options)
        except TooOld:
            if keyed.nothing_scorable:
                raise
            return NO_ANSWERS
        except DatabaseUnavailable:
            if keyed.unscorable:
                raise
            return NO_ANSWERS
        version = answers.table_version
        if keyed.nothing_scorable:
            kept.require(version, answers.kept_ages, answers.keys, options)
        return TableAnswers(version, _render(answers, keyed, options))

    def refusals(self, version: TableVersion, keyed: KeyedRows, options: LookupOptions) -> TableAnswers:
        """Return the answers to rows without features while a version's table is too old; NO_ANSWERS if it is not."""
        if not keyed.unscorable:
            return TableAnswers(version, {})
        age = Age.at(version, self._clock.now())
        try:
            age.require(version, options)
        except TooOld as error:
            return TableAnswers(version, _render_refusals(version, keyed, age, str(error)))
        return NO_ANSWERS


def _render(answers: Answers, keyed: KeyedRows, options: LookupOptions) -> dict[int, bytes]:
    """Return the answers by row number: those that were found, and those to rows that cannot be scored, either."""
    version = answers.table_version
    too_old = _too_old(answers, options)
    rendered = {}
    reasons = {}
    for place, (number, answer) in enumerate(zip(keyed.numbers, scores.render_found(answers), strict=True)):
        if answer is not None and place not in too_old:
            rendered[number] = answer
        elif number in keyed.unscorable:
            reasons[place] = too_old.get(place, scores.UNKNOWN_KEY)
    keys = [[column[place] for place in reasons] for column in answers.keys]
    ages = [answers.kept_ages.get(place, answers.age) for place in reasons]
    unanswered = scores.render_unanswered(version, keys, ages, list(reasons.values()))
    rendered.update(zip([keyed.numbers[place] for place in reasons], unanswered, strict=True))
    return rendered


def _too_old(answers: Answers, options: LookupOptions) -> dict[int, str]:
    """Return the kept rows that are older than the options or the model allow, by place, each with a message."""
    version = answers.table_version
    messages = {}
    for place, age in answers.kept_ages.items():
        limit = age.exceeded(version, options)
        if limit is not None:
            key = [column[place] for column in answers.keys]
            messages[place] = str(kept.too_old(version, age, key, limit))
    return messages


def _render_refusals(version: TableVersion, keyed: KeyedRows, age: Age, reason: str) -> dict[int, bytes]:
    places = [place for place, number in enumerate(keyed.numbers) if number in keyed.unscorable]
    numbers = [keyed.numbers[place] for place in places]
    keys = score_rows.parse_keys(version.key, [keyed.keys[place] for place in places], numbers)
    rendered = scores.render_unanswered(version, keys, [age] * len(places), [reason] * len(places))
    return dict(zip(numbers, rendered, strict=True))
