"""The section `[comparison]` of a spec: how far a version may differ from the served one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from prescore.project.fields import ColumnName
from prescore.project.section import Section

OF_NUMBERS = ("psi", "ks", "mean_shift", "quantile_shift")
"""Limits that only numbers have."""
OF_ELEMENTS = ("moved", "tolerance")
"""Limits that numbers and arrays of numbers have."""
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Limits(Section):
    """Two limits of one measure: above `warn` the version waits for approval, above `refuse` it is refused."""

    warn: Bound | None = Field(None, description="above it, the version is not published until a person approves it")
    refuse: Bound | None = Field(None, description="above it, the version is refused")

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.warn is None and self.refuse is None:
            raise ValueError("must have warn, refuse, or both")
        if self.warn is not None and self.refuse is not None and self.warn > self.refuse:
            raise ValueError(f"warn is {self.warn:g} and must not be above refuse, {self.refuse:g}")
        return self


class ColumnLimits(Section):
    """The limits of one column; those of distributions are for numbers alone."""

    tolerance: Bound | None = Field(
        None,
        description="how far a number may be from its value in the served version without being counted as moved; by "
        "default, a tenth of the standard deviation there",
    )
    changed: Limits | None = Field(None, description="the share of common rows that have another value")
    moved: Limits | None = Field(None, description="the share of common rows that moved by more than the tolerance")
    psi: Limits | None = Field(None, description="the population stability index")
    ks: Limits | None = Field(None, description="the Kolmogorov-Smirnov distance")
    mean_shift: Limits | None = Field(None, description="how far apart the means are, in the unit of the column")
    quantile_shift: Limits | None = Field(
        None, description="the largest distance of the 5, 25, 50, 75 and 95 % quantiles, in the unit of the column"
    )

    @property
    def of_numbers(self) -> list[str]:
        """The limits that the column has and that only numbers can have, alone or in arrays."""
        return [name for name in (*OF_NUMBERS, *OF_ELEMENTS) if getattr(self, name) is not None]


class ComparisonLimits(Section):
    """The comparison with the served version that every version goes through before it is published."""

    skip: StrictBool = Field(False, description="leave the comparison out of runs")
    rows: Limits | None = Field(None, description="how much the number of rows changed, as a share of the served rows")
    added: Limits | None = Field(None, description="the share of rows whose keys the served version does not have")
    vanished: Limits | None = Field(None, description="the share of served rows whose keys this version lacks")
    columns: dict[ColumnName, ColumnLimits] = Field({}, description="the limits of outputs and passthrough columns")

    @property
    def tolerances(self) -> dict[str, float]:
        """Return column → tolerance, of the columns that have one."""
        tolerances = {}
        for name, limits in self.columns.items():
            if limits.tolerance is not None:
                tolerances[name] = limits.tolerance
        return tolerances
