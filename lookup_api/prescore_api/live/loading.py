"""Load the model file of a version from the store, by its content hash."""

from __future__ import annotations

from prescore.scoring.scorer import Scorer
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Signature
from prescore.store.model_file import ModelFile
from prescore.store.store import Store
from prescore_api.live.messages import ModelLocation


def read(location: ModelLocation) -> ModelFile:
    """Return the model file; raises NotFound, StoreRefused or StoreUnavailable. The store is only read."""
    return Store(location.place, location.catalog).model(location.fingerprint)


def load(file: ModelFile, location: ModelLocation) -> Scorer:
    """Return the model in a file, ready to score; raises ModelInvalid."""
    session = ModelSession(file, location.name)
    return Scorer(session, Signature.from_content(location.signature))
