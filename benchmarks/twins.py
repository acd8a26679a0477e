"""The same predictions published as two models: lookups read `stored` from Postgres, and `held` from memory."""

from __future__ import annotations

from benchmarks import models
from benchmarks.world import FEATURES, World

STORED, HELD = "stored", "held"
_OUTPUTS = "select i as id, {features} from range(1, {rows} + 1) as t(i)"


def publish(where: World, rows: int) -> None:
    """Publish both models, with the keys 1 to `rows`, in an empty database."""
    where.fresh_database()
    models.train(where.root / "models", "logistic", len(FEATURES))
    features = ", ".join(f"sin(i * {n + 1})::float as {name}" for n, name in enumerate(FEATURES))
    for name in (STORED, HELD):
        where.model(name, "logistic", _OUTPUTS.format(features=features, rows=rows))
    held = where.root / f"specs/{HELD}.toml"
    held.write_text(held.read_text() + "[lookup]\nin_memory = true\n")
    for name in (STORED, HELD):
        where.prescore("run", name)
