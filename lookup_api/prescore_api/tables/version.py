"""A version as the catalog describes it, and what of its answers is always the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from prescore.catalog import lookup
from prescore.catalog.catalog import Column
from prescore.errors import RequestInvalid


@dataclass(frozen=True, eq=False)
class TableVersion:
    """What is known of one version: its columns and its table never change, its promise belongs to it.

    Times are seconds since 1970. `statement` reads it by key; `head` is how each of its answers begins in JSON, and
    `clocks` how it goes on after the prediction. `stamp` tells its publication from every other one of the model.
    """

    model: str
    version: int
    published: lookup.VersionRow
    key: list[Column]
    outputs: list[Column]
    statement: bytes
    data_as_of: float
    head: bytes
    clocks: bytes
    stamp: bytes
    read_at: float = field(default_factory=time.monotonic)

    @classmethod
    def from_row(cls, published: lookup.VersionRow, *, by_number: bool = False) -> Self:
        """Of a row of the catalog. `by_number`: to be read from its own table, published or not."""
        model, version = published["model"], published["version"]
        key, outputs = published["key_columns"], published["output_columns"]
        if by_number:
            statement = lookup.version_statement(version, published["table_name"], key, outputs)
        else:
            statement = lookup.published_statement(model, key, outputs)
        published_at = published["published_at"]
        times = {"data_as_of": published["data_as_of"], "published_at": published["published_at"]}
        return cls(
            model=model,
            version=version,
            published=published,
            key=key,
            outputs=outputs,
            # Rendered once: composing it costs more than asking it.
            statement=statement.as_bytes(),
            data_as_of=published["data_as_of"].timestamp(),
            head=orjson.dumps({"model": model, "version": version})[:-1] + b',"key":',
            clocks=b"," + orjson.dumps(times)[1:-1] + b',"age_seconds":',
            stamp=f"{version}-{published_at.timestamp() if published_at else 0:.6f}".encode(),
        )

    def renewed(self, published: lookup.VersionRow) -> bool:
        """Whether a row of the catalog says nothing else than is known; it is then as if just read."""
        same = {**published, "now": self.published["now"]} == self.published
        if same:
            object.__setattr__(self, "read_at", time.monotonic())
        return same

    def same_table(self, other: TableVersion) -> bool:
        """Whether another description is of the same rows and columns."""
        names = ("model", "version", "table_name", "rows", "key_columns", "output_columns", "data_as_of")
        return all(self.published[name] == other.published[name] for name in names)  # type: ignore[literal-required]

    @property
    def max_age(self) -> float | None:
        """The promise, in seconds."""
        return self.published["max_age_seconds"]

    def chosen(self, names: Sequence[str]) -> list[tuple[int, str]] | None:
        """The outputs of these names, each with its place; None for all. Raises RequestInvalid for one it lacks."""
        if not names:
            return None
        places = {column["name"]: place for place, column in enumerate(self.outputs)}
        if unknown := [name for name in names if name not in places]:
            raise RequestInvalid(
                f"{self.model} version {self.version} has no output {', '.join(unknown)}; it has {', '.join(places)}."
            )
        return [(places[name], name) for name in names]

    def columns(self) -> dict[str, Any]:
        """Its columns as /v1/models/{model} tells them."""
        return {
            "key": [{name: column[name] for name in ("name", "type", "comment")} for column in self.key],
            "outputs": [
                {name: column[name] for name in ("name", "type", "comment", "role")} for column in self.outputs
            ],
        }
