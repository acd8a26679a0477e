"""Round the thresholds of LightGBM's trees so that every 32-bit number takes the same branch in ONNX.

LightGBM's thresholds have 64 bits, and lie between two values of the training data. ONNX's have 32 bits: rounded to
the nearest, a threshold can become the upper of the two values, which then takes the other branch. Rounded down,
`x <= threshold` is the same for every 32-bit `x`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Converter = Callable[[Any, Any, Any], None]


def rounded_down(convert: Converter) -> Converter:
    """Return a converter that writes what the given one of onnxmltools does, with thresholds rounded down."""

    def convert_rounded(scope: Any, operator: Any, container: Any) -> None:
        add_node = container.add_node

        def add_rounded(*arguments: Any, **attributes: Any) -> None:
            if "nodes_values" in attributes:
                attributes["nodes_values"] = round_down(attributes["nodes_values"])
            add_node(*arguments, **attributes)

        container.add_node = add_rounded
        try:
            convert(scope, operator, container)
        finally:
            del container.add_node

    return convert_rounded


def round_down(thresholds: list[float]) -> list[float]:
    """Return the largest 32-bit floats that are not above the thresholds."""
    exact = np.asarray(thresholds, np.float64)
    nearest = exact.astype(np.float32)
    below = np.nextafter(nearest, np.float32("-inf"))
    rounded: list[float] = np.where(nearest > exact, below, nearest).tolist()
    return rounded
