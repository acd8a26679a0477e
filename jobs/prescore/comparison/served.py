"""The comparison of a version with the served one, before it is published."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Version
from prescore.comparison.comparison import compare
from prescore.comparison.differences import Comparison
from prescore.errors import NotAllowed
from prescore.project.limits import ComparisonLimits


def compare_with_served(catalog: Catalog, version: Version, limits: ComparisonLimits) -> Comparison | None:
    """Compare a version with the published one of its model.

    Returns None if there is none, if its key columns are others, if the spec skips comparisons, and for a trial, which
    has a sample of the rows. Raises DatabaseRefused when not all rows of both can be read.
    """
    model = version["model"]
    served = catalog.model(model)["published_version"]
    is_trial = version["trial_rows"] is not None
    if limits.skip or is_trial or served in (None, version["version"]):
        return None
    try:
        return compare(
            catalog.connection,
            catalog.version(model, served),
            version,
            limits.tolerances,
        )
    except NotAllowed:
        # Other key columns, or a table that is gone: there is nothing to compare with.
        return None
