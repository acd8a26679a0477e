"""Content negotiation: which of the offered media types or codings a client prefers (RFC 9110, 12.5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from prescore.errors import NotAcceptable

Weights = dict[bytes, float]

JSON = b"application/json"
ANY = b"*/*"


@lru_cache(maxsize=256)
def choose(accept: bytes | None, offered: Sequence[bytes]) -> bytes:
    """Return the offered media type that an Accept header prefers, by default the first; raise NotAcceptable."""
    # An empty header restricts nothing, either.
    if not accept or accept == ANY:
        return offered[0]
    weights = parse_weights(accept)
    best = max(offered, key=lambda media_type: _preference(weights, media_type))
    weight, _ = _preference(weights, best)
    if weight > 0:
        return best
    types = ", ".join(media_type.decode() for media_type in offered)
    raise NotAcceptable(f"The Accept header allows nothing that this endpoint returns. It returns {types}.")


def parse_weights(header: bytes) -> Weights:
    """Return the weight of each element of an Accept or Accept-Encoding header; malformed weights are 0."""
    weights = {}
    for element in header.lower().split(b","):
        name, *parameters = (part.strip() for part in element.split(b";"))
        if name:
            weights[name] = _parse_weight(parameters)
    return weights


def _parse_weight(parameters: Sequence[bytes]) -> float:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _preference(weights: Weights, media_type: bytes) -> tuple[float, int]:
    """Return the weight of the most specific range that contains a media type, and how specific that is."""
    main_type, _, _ = media_type.partition(b"/")
    for generality, media_range in enumerate((media_type, main_type + b"/*", ANY)):
        if media_range in weights:
            return weights[media_range], -generality
    return 0.0, 0
