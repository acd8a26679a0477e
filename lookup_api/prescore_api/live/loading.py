"""Load the model files of versions from the store, by their content hash."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prescore.catalog.queries import query
from prescore.errors import LiveUnavailable, NotAllowed, NotFound
from prescore.scoring.scorer import Scorer
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Signature
from prescore.store.store import Store
from prescore_api.live.thread import WorkerThread
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion


class Loaded(NamedTuple):
    """A model that is ready to score, and its signature as the catalog records it."""

    scorer: Scorer
    signature: dict[str, Any]


class ModelFiles:
    """The model files in a store, a folder or a URL. They are only read."""

    def __init__(self, reader: ReaderPool, place: Path | str) -> None:
        self._reader = reader
        self._place = place

    async def load(self, version: TableVersion) -> Loaded:
        """Return the model of a version.

        Raises NotAllowed for a version without a signature, LiveUnavailable if the store does not have its file,
        StoreRefused, StoreUnavailable, ModelInvalid and DatabaseUnavailable.
        """
        content = await self._signature(version)
        (row,) = await self._reader.rows(query("catalog_name"), {})
        # A thread for each: one that waits for a store that hangs must not keep others from loading.
        thread = WorkerThread(f"prescore load {version.model}")
        return await thread.run(partial(_load, self._place, row["name"], version, content))

    async def _signature(self, version: TableVersion) -> dict[str, Any]:
        parameters = {"model": version.model, "version": version.version, "id": version.id}
        rows = await self._reader.rows(query("lookup_signature"), parameters)
        if not rows:
            raise LiveUnavailable(f"{version.model} version {version.version} is not in the catalog any more.")
        if rows[0]["signature"] is None:
            raise NotAllowed(
                f"{version.model} version {version.version} has no signature in the catalog, so that nothing can be "
                f"scored with it. Make another version with `prescore run {version.model}`."
            )
        content: dict[str, Any] = rows[0]["signature"]
        return content


def _load(place: Path | str, catalog: str, version: TableVersion, content: dict[str, Any]) -> Loaded:
    fingerprint = version.row["model_fingerprint"]
    if fingerprint is None:
        raise NotAllowed(f"The predictions of {version.model} were made elsewhere: there is no model to score with.")
    try:
        model = Store(place, catalog).model(fingerprint)
    except NotFound as error:
        raise LiveUnavailable(str(error)) from error
    session = ModelSession(model, f"{version.model} version {version.version}")
    return Loaded(Scorer(session, Signature.from_content(content)), content)
