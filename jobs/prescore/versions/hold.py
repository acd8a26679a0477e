"""Put a model on hold and release it. `publishable` refuses to publish meanwhile, and `withheld` lets runs skip it."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed


def hold(connection: Connection, model: str, reason: str, *, rolled_back: bool = False) -> None:
    """Put a model on hold, or give its hold another reason; `rolled_back` says that a rollback does."""
    catalog = Catalog(connection)
    with connection.transaction():
        catalog.model(model, lock=True)
        catalog.record_event(model, None, "held", reason, rolled_back=rolled_back)
        catalog.execute(
            "models_hold",
            model=model,
            reason=reason,
            actor=catalog.actor,
        )


def release(connection: Connection, model: str) -> None:
    """End a hold; raise NotAllowed when the model is not on hold."""
    catalog = Catalog(connection)
    with connection.transaction():
        row = catalog.model(model, lock=True)
        if row["held_at"] is None:
            raise NotAllowed(f"{model} is not on hold.")
        catalog.execute("models_release", model=model)
        catalog.record_event(model, None, "released")
