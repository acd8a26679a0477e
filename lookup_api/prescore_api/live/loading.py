"""Load the model file of a version from the store, by its content hash."""

from __future__ import annotations

from prescore.errors import LiveUnavailable, NotFound
from prescore.scoring.scorer import Scorer
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Signature
from prescore.store.store import Store
from prescore_api.live.messages import ModelLocation


def load(location: ModelLocation) -> Scorer:
    """Return the model of a version, ready to score. The store is only read.

    Raises LiveUnavailable if the store does not have its file, StoreRefused, StoreUnavailable and ModelInvalid.
    """
    try:
        model = Store(location.place, location.catalog).model(location.fingerprint)
    except NotFound as error:
        raise LiveUnavailable(str(error)) from error
    session = ModelSession(model, location.name)
    return Scorer(session, Signature.from_content(location.signature))
