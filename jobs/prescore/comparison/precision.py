"""How exactly a model repeats its numbers: their last digits depend on how many rows it scores together."""

from __future__ import annotations

from collections.abc import Sequence

PRECISION = 1e-6
"""How far a number may be from the one scored again, as a share of the largest number, or of 1 if that is larger."""


def allowance(quantiles: Sequence[float] | None = None, precision: float = PRECISION) -> float:
    """Return how far numbers with these quantiles may be apart, in their own unit."""
    return precision * max(1.0, *map(abs, quantiles or (0.0,)))
