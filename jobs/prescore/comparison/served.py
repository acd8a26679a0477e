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

    Returns None if there is none, if its key columns are others, if the spec skips comparisons, and for a trial, which
    has a sample of the rows. Raises DatabaseRefused if the published version's table was dropped or changed by hand.
    """
    model = version["model"]
    served = catalog.model(model)["published_version"]
    is_trial = version["trial_rows"] is not None
    if limits.skip or is_trial or served in (None, version["version"]):
        return None
    fault = catalog.one("versions_table_fault", model=model, version=served)["fault"]
    if fault is not None:
        raise DatabaseRefused(f"The table of {model} version {served}, which is served, {fault} by hand.")
    try:
        return compare(
            catalog.connection,
            catalog.version(model, served),
            version,
            limits.tolerances,
            # The catalog keeps no rows, which would outlive their version.
            movers=False,
        )
    except NotAllowed as error:
        _log.warning("%s version %s is not compared with the served version: %s", model, version["version"], error)
        return None
