"""The distributions of the numbers of two versions, from one histogram of each version.

Nothing is sorted but a sample of the first version, which gives the edges, and the few values around a quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.comparison import bins, histogram
from prescore.comparison.bins import Bin
from prescore.comparison.columns import SharedColumn
from prescore.comparison.differences import Distribution
from prescore.comparison.histogram import Histogram
from prescore.comparison.relation import Pair, Relation

EXACT_ROWS = 16_384
"""The number of rows up to which each value has a bin of its own."""
_STEPS = 1024
"""The number of equally frequent steps between the edges of the histogram of a larger version."""


@dataclass(frozen=True)
class Sample:
    """What a sample of the first version shows, by column: the edges of a histogram, and the number of labels."""

    edges: dict[str, list[float]]
    labels: dict[str, int]


@dataclass(frozen=True)
class Distributions:
    """The distributions of one number in either version, and the histogram of both."""

    a: Distribution
    b: Distribution
    histogram: Histogram


def read_sample(
    connection: Connection, relation: Relation, columns: Sequence[SharedColumn], steps: int | None = None
) -> Sample:
    """Return what a sample of a version shows of its columns, with so many equally frequent steps between the edges."""
    if steps is None:
        # A power of two, with which the places of percentile_disc are computed without rounding.
        steps = 1 << (relation.rows - 1).bit_length() if relation.rows <= EXACT_ROWS else _STEPS
    measures = []
    for column in columns:
        if column.is_number:
            measure = query(
                "comparison_edges",
                value=column.value(),
                steps=sql.Literal(steps),
                name=sql.Identifier(column.measure("edges")),
            )
            measures.append(measure)
        if column.may_be_label:
            measure = query(
                "comparison_distinct",
                value=column.identifier,
                name=sql.Identifier(column.measure("labels")),
            )
            measures.append(measure)
    if not measures:
        return Sample({}, {})
    statement = query(
        "comparison_sample",
        measures=sql.SQL(", ").join(measures),
        relation=relation.name,
        sampled=relation.sampled(),
    )
    (row,) = connection.execute(statement).fetchall()
    return Sample(
        edges={column.name: bins.edges(row[column.measure("edges")] or ()) for column in columns if column.is_number},
        labels={column.name: row[column.measure("labels")] for column in columns if column.may_be_label},
    )


def read_bins(
    connection: Connection,
    relations: Sequence[sql.Identifier],
    column: SharedColumn,
    edges: Sequence[float],
) -> list[list[Bin]]:
    """Return the values of a number in each of these relations, counted between edges, in order."""
    numbers = [
        query("comparison_numbers", value=column.value(), part=sql.Literal(part), relation=relation)
        for part, relation in enumerate(relations)
    ]
    statement = query(
        "comparison_histogram",
        numbers=sql.SQL(" union all ").join(numbers),
        edges=sql.Literal(list(edges)),
    )
    found: list[list[Bin]] = [[] for _ in relations]
    for row in connection.execute(statement):
        if row["bucket"] is not None:
            found[row.pop("part")].append(Bin(**row))
    return [sorted(each, key=lambda one: one.bucket) for each in found]


def read_distributions(
    connection: Connection,
    pair: Pair,
    column: SharedColumn,
    edges: Sequence[float],
) -> Distributions:
    """Return the distributions of a number in two versions, counted between edges."""
    bins_a, bins_b = read_bins(connection, (pair.a.name, pair.b.name), column, edges)
    return Distributions(
        a=_distribution(bins_a, _read_quantiles(connection, pair.a, column, bins_a)),
        b=_distribution(bins_b, _read_quantiles(connection, pair.b, column, bins_b)),
        histogram=Histogram.from_bins(bins_a, bins_b),
    )


def are_fine(bins_a: Sequence[Bin], bins_b: Sequence[Bin]) -> bool:
    """Return whether the measures that follow from the bins of two versions alone are within their bounds.

    KS is off by the smaller share of a bin in the two versions at most, and PSI counts between deciles of the first.
    Bins of the second may be coarser, unless a quantile is in one.
    """
    limit = bins.COARSE * sum(each.rows for each in bins_b)
    quantiles = histogram.places(bins_b)
    return not bins.are_coarse(bins_a) and all(each.value is not None or each.bin.rows <= limit for each in quantiles)


def estimate_distributions(bins_a: Sequence[Bin], bins_b: Sequence[Bin]) -> Distributions:
    """Return the distributions that follow from the bins of two versions alone: their quantiles are interpolated."""
    return Distributions(
        a=_distribution(bins_a, [place.estimate for place in histogram.places(bins_a)]),
        b=_distribution(bins_b, [place.estimate for place in histogram.places(bins_b)]),
        histogram=Histogram.from_bins(bins_a, bins_b),
    )


def _distribution(found: Sequence[Bin], quantiles: Sequence[float]) -> Distribution:
    count, mean, deviation = bins.moments(found)
    return Distribution(count=count, mean=mean, deviation=deviation, quantiles=quantiles or None)


def _read_quantiles(
    connection: Connection, relation: Relation, column: SharedColumn, found: Sequence[Bin]
) -> list[float]:
    """Return the quantiles. Those within a bin of different values are read from the version."""
    places = histogram.places(found)
    bounds, ranks = histogram.bounds(places)
    values: dict[int, float] = {}
    if ranks:
        statement = query(
            "comparison_places",
            relation=relation.name,
            value=column.value(),
            bounds=sql.Literal(bounds),
            places=sql.Literal(ranks),
        )
        values = {row["place"]: row["value"] for row in connection.execute(statement)}
    unknown = iter(ranks)
    return [values[next(unknown)] if place.value is None else place.value for place in places]
