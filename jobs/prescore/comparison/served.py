"""The comparison of a version with the served one, before it is published."""

from __future__ import annotations

import logging

from prescore.catalog.catalog import Catalog, Version
from prescore.comparison.comparison import compare
from prescore.comparison.differences import Comparison
from prescore.errors import DatabaseRefused, NotAllowed
from prescore.project.limits import ComparisonLimits

_log = logging.getLogger("prescore")


def compare_with_served(catalog: Catalog, version: Version, limits: ComparisonLimits) -> Comparison | None:
    """Compare a version with the published one of its model.

    Returns None if there is none, if its key columns are others, if its table was dropped or changed by hand, if the
    spec skips comparisons, and for a trial, which has a sample of the rows.
    """
    model = version["model"]
    served = catalog.model(model)["published_version"]
    is_trial = version["trial_rows"] is not None
    if limits.skip or is_trial or served in (None, version["version"]):
        return None
    if catalog.one("versions_table_fault", model=model, version=served)["fault"] is not None:
        return None
    try:
        return compare(
            catalog.connection,
            catalog.version(model, served),
            version,
            limits.tolerances,
            # The catalog keeps no rows, which would outlive their version.
            movers=False,
        )
    except (NotAllowed, DatabaseRefused) as error:
        # A run must not stop because what it replaces is not whole.
        _log.warning("%s version %s is not compared with the served version: %s", model, version["version"], error)
        return None
