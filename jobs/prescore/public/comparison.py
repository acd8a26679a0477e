"""The comparison of two versions, as the public API returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from prescore.catalog.catalog import Version
from prescore.comparison import differences
from prescore.comparison.differences import ColumnDifference
from prescore.comparison.page import page
from prescore.public import html
from prescore.public.results import Result
from prescore.wording import utc

_SHOWN_MOVERS = 5
_SHOWN_FLIPS = 10
_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class ParameterDifference:
    """A parameter of the domain query with its values in two versions; None where a version did not have it."""

    parameter: str
    a: str | float | bool | None
    b: str | float | bool | None


def _parameter_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[ParameterDifference, ...]:
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return tuple(ParameterDifference(name, a.get(name), b.get(name)) for name in names)


@dataclass(frozen=True)
class Comparison(differences.Comparison, Result):
    """What changed from version `a` of a model to version `b`, with the parameters of both.

    The states, the times of the inputs and the SHA-256 of the model files are those of the two versions as well.
    """

    a_state: str = field(default="", repr=False)
    b_state: str = field(default="", repr=False)
    a_data_as_of: datetime | None = field(default=None, repr=False)
    b_data_as_of: datetime | None = field(default=None, repr=False)
    a_model_fingerprint: str | None = field(default=None, repr=False)
    b_model_fingerprint: str | None = field(default=None, repr=False)
    parameters: tuple[ParameterDifference, ...] = ()

    @classmethod
    def from_differences(cls, compared: differences.Comparison, a: Version, b: Version) -> Self:
        """Return the comparison of two versions as a result."""
        parameters = _parameter_differences(a["parameters"], b["parameters"])
        return cls(
            **vars(compared),
            a_state=a["state"],
            b_state=b["state"],
            a_data_as_of=a["data_as_of"],
            b_data_as_of=b["data_as_of"],
            a_model_fingerprint=a["model_fingerprint"],
            b_model_fingerprint=b["model_fingerprint"],
            parameters=parameters,
        )

    def page(self) -> str:
        """Return the comparison as one HTML page with pictures, which needs no server, script or network."""
        return page(self, self.title(), self._version_table())

    def _version_table(self) -> list[dict[str, object]]:
        """Return a row for each of the two versions: heading → value."""
        return [
            _version_row(self.a, self.a_state, self.a_data_as_of, self.a_model_fingerprint),
            _version_row(self.b, self.b_state, self.b_data_as_of, self.b_model_fingerprint),
        ]

    def title(self) -> str:
        """Return which versions are compared, with their states."""
        return f"{self.model}: from version {self._versions(' to version ')}"

    def _versions(self, between: str) -> str:
        return between.join(
            f"{number} ({state})" if state else f"{number}"
            for number, state in ((self.a, self.a_state), (self.b, self.b_state))
        )

    def key_table(self) -> list[dict[str, object]]:
        """Return the one row of the table of keys: heading → number."""
        return [asdict(self.keys)]

    def column_table(self) -> list[dict[str, object]]:
        """Return a row for each column that both versions have: heading → value."""
        return [_column_row(column) for column in self.columns]

    def label_table(self) -> list[dict[str, object]]:
        """Return the most frequent changes from one value to another, of columns with few values: heading → value."""
        return [
            {
                "column": column.column,
                "from": pair.a,
                "to": pair.b,
                "rows": pair.rows,
            }
            for column in self.columns
            for pair in column.flips[:_SHOWN_FLIPS]
        ]

    def mover_table(self) -> list[dict[str, object]]:
        """Return the few rows in which each number moved most: heading → value."""
        return [
            {
                "column": column.column,
                "key": ", ".join(map(str, mover.key)),
                "from": mover.a,
                "to": mover.b,
            }
            for column in self.columns
            if column.shift is not None
            for mover in column.shift.movers[:_SHOWN_MOVERS]
        ]

    def tables(self) -> dict[str, list[dict[str, object]]]:
        """Return what tables show of the comparison: title → rows. A table without rows is left out."""
        tables: dict[str, list[dict[str, object]]] = {
            "parameters": [asdict(parameter) for parameter in self.parameters],
            "keys": self.key_table(),
            "columns": self.column_table(),
            "not compared": [{"column": name, "why": reason} for name, reason in self.not_compared.items()],
            "changed values": self.label_table(),
            "rows that moved most": self.mover_table(),
        }
        return {title: rows for title, rows in tables.items() if rows}

    def summary(self) -> dict[str, object]:
        """Return what a notebook shows of the comparison."""
        tables = {title: html.nested(rows) for title, rows in self.tables().items()}
        return {
            "model": self.model,
            "versions": self._versions(" → "),
            **tables,
        }


def _version_row(
    version: int, state: str, data_as_of: datetime | None, model_fingerprint: str | None
) -> dict[str, object]:
    return {
        "version": f"{version}",
        "state": state,
        "data as of": None if data_as_of is None else utc(data_as_of),
        "model file": None if model_fingerprint is None else model_fingerprint[:_SHOWN_DIGITS],
    }


def _column_row(column: ColumnDifference) -> dict[str, object]:
    row: dict[str, object] = {
        "column": column.column,
        "changed": column.changed,
        "moved": None,
        "mean": None,
        "mean difference": None,
        "largest": None,
        "PSI": None,
        "KS": None,
    }
    if (shift := column.shift) is not None:
        row |= {
            "moved": shift.moved,
            "mean": shift.b.mean,
            "mean difference": shift.mean_difference,
            "largest": shift.largest_difference,
            "PSI": shift.psi,
            "KS": shift.ks,
        }
    elif column.elements is not None:
        row |= {
            "moved": column.elements.moved,
            "largest": column.elements.largest_difference,
        }
    return row
