"""Check a staged version before any reader sees it, and record the results with the version."""

from __future__ import annotations

import logging
from typing import Any

from psycopg.types.json import Jsonb

from prescore.catalog import roles
from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.catalog.database import Connection, Database
from prescore.catalog.edits import may_be_edited
from prescore.checks import compulsory, expectations
from prescore.checks.results import differing_rows, sentence
from prescore.comparison import limits, profile
from prescore.comparison.differences import Comparison
from prescore.comparison.served import compare_with_served
from prescore.errors import DatabaseRefused, NotAllowed, Refused
from prescore.project.spec import Spec
from prescore.scoring import rejects
from prescore.versions import delta, kept, keys, lifecycle, table, withheld
from prescore.versions.lease import Lease
from prescore.wording import count

_log = logging.getLogger("prescore")


def check_version(
    database: Database,
    connection: Connection,
    lease: Lease,
    version: Version,
    spec: Spec,
    own_expectations: list[Any],
    *,
    again: bool = False,
) -> list[CheckResult]:
    """Run all checks of a version and record their results: the version is then `checked` or `refused`.

    The compulsory checks come first: rows, rejects, keys, finite, and lengths where there are arrays. A version that
    passes is compared with the served one, unless it is a backfill, and held against the limits of the spec.
    `own_expectations` are those of the spec, built by `expectations.build`. Those that need all rows of the domain do
    not run on a trial. Returns the results. Raises Refused when a check failed; the refused table is kept for
    inspection. A version that is decided is checked only if `again`.
    """
    if not again:
        if is_decided(version, spec):
            return version["checks"] or []
        repeated = repeated_version(Catalog(connection), version, spec)
        if repeated is not None:
            return _check_repeated(connection, lease, version, spec, repeated)
    results = _check_rows(database, connection, version, spec, own_expectations)
    compared = None
    if not _failed(results):
        compared, limit_results = _compare(connection, version, spec)
        results += limit_results + _lost_results(Catalog(connection), version)
    tables = {version["table_name"], version["rows_table"]}
    _record(connection, lease, version, spec, results, tables, compared)
    return results


def _check_rows(
    database: Database,
    connection: Connection,
    version: Version,
    spec: Spec,
    own_expectations: list[Any],
) -> list[CheckResult]:
    """Return the results of the compulsory checks and of the spec's own ones."""
    if version["trial_rows"] is not None:
        left_out = expectations.needing_all_rows(spec)
        own_expectations = [wanted for wanted in own_expectations if wanted.meta["title"] not in left_out]
    base = _passed_base(connection, version, spec)
    if base is None:
        differing = None
        measures = compulsory.measure(connection, version)
        rows = measures.rows
    else:
        measures = compulsory.measure_delta(connection, version, base)
        differing = differing_rows(measures.rows, base["version"])
        carried = (base["rows_stored"] or 0) - delta.count_replaced(connection, version, base)
        rows = measures.rows + carried
    rows_result, *others = compulsory.results(measures, rows, _expected_rows(version), differing)
    return [
        rows_result,
        rejects.check(connection, version, spec.max_rejects),
        keys.check(connection, version),
        *others,
        *expectations.validate(database, version, own_expectations, differing),
    ]


def repeated_version(catalog: Catalog, version: Version, spec: Spec) -> Version | None:
    """Return the earlier version whose rows a version has, if it passed these same checks."""
    since = (version["changes"] or {}).get("unchanged_since")
    if since is None:
        return None
    earlier = catalog.version(version["model"], since)
    return earlier if earlier["checks_fingerprint"] == spec.checks_fingerprint else None


def _passed_base(connection: Connection, version: Version, spec: Spec) -> Version | None:
    """Return the base of a delta if its rows passed these same checks and are still there: they are not read again."""
    if version["base_version"] is None or not table.has_key(connection, version):
        return None
    catalog = Catalog(connection)
    model, number = version["model"], version["base_version"]
    base = catalog.version(model, number)
    if base["checks_fingerprint"] != spec.checks_fingerprint or _failed(base["checks"] or []):
        return None
    return None if may_be_edited(catalog, base) else base


def _check_repeated(
    connection: Connection,
    lease: Lease,
    version: Version,
    spec: Spec,
    repeated: Version,
) -> list[CheckResult]:
    """Check a version whose rows passed the checks in an earlier version; only the rejects may be others."""
    unchanged: CheckResult = {
        "name": "unchanged",
        "passed": True,
        "observed": f"the rows of version {repeated['version']}",
        "expected": "rows that passed these checks",
    }
    results = [unchanged, rejects.check(connection, version, spec.max_rejects)]
    tables = {version["table_name"]}
    _record(connection, lease, version, spec, results, tables)
    return results


def _compare(
    connection: Connection,
    version: Version,
    spec: Spec,
) -> tuple[Comparison | None, list[CheckResult]]:
    """Compare a version with the served one, unless it is a backfill, and hold it against the limits of the spec."""
    catalog = Catalog(connection)
    if withheld.is_backfill(catalog, version):
        return None, []
    try:
        if spec.incremental is not None and spec.incremental.rebase and not spec.comparison.skip:
            # The next versions will be compared by it.
            profile.make(connection, version)
        compared = compare_with_served(catalog, version, spec.comparison)
    # A run must not stop because what it replaces is not whole.
    except DatabaseRefused as error:
        _log.warning("%s version %s is not compared: %s", version["model"], version["version"], error)
        return None, limits.unmeasured(spec.comparison, str(error))
    if compared is None:
        return None, []
    return compared, _limit_results(connection, version, spec, compared)


def _limit_results(connection: Connection, version: Version, spec: Spec, compared: Comparison) -> list[CheckResult]:
    """Return the results of the spec's limits. A key that has vanished counts as such although its row is kept."""
    newly_kept = 0
    if version["kept"] and spec.comparison.vanished is not None:
        served = Catalog(connection).version(version["model"], compared.a)
        newly_kept = kept.count_new(connection, version, served)
    return limits.results(compared, spec.comparison, kept=newly_kept)


def _lost_results(catalog: Catalog, version: Version) -> list[CheckResult]:
    """Return a result with a warning if a version keeps no row of those that it should keep."""
    event = catalog.one("events_last", model=version["model"], version=version["version"], event=kept.KEPT_NO_ROW)
    if event is None or version["kept"] or not event["detail"]["rows"]:
        return []
    lost = event["detail"]["rows"]
    served = event["detail"]["served"]
    result: CheckResult = {
        "name": "kept rows",
        "passed": True,
        "observed": 0,
        "expected": (
            f"{count(lost, 'row')} of version {served} whose keys have vanished, but {event['reason']}. Once this "
            f"version is published, no later one has these rows either; publishing version {served} again restores them"
        ),
        "warning": True,
    }
    return [result]


def is_decided(version: Version, spec: Spec) -> bool:
    """Return whether there is nothing left to check: the version was published, or it passed these same checks.

    Raises NotAllowed for a refused version: only a person has it checked again, after changing the checks.
    """
    state = version["state"]
    if state == "refused":
        raise NotAllowed(
            f"{refusal_message(version, version['checks'] or [])}\n"
            "Fix the cause, then make a new version: trigger a new run, or clear the snapshot task of this one with "
            "all tasks downstream. If the checks were wrong, change them and run "
            f"`prescore check-again {version['model']} {version['version']}`."
        )
    if state == "checked":
        return version["checks_fingerprint"] == spec.checks_fingerprint
    return state in ("published", "superseded")


def refusal_message(version: Version, results: list[CheckResult]) -> str:
    """Return which checks a version failed, with what they observed and expected."""
    failed = _failed(results)
    label = f"{version['model']} version {version['version']}"
    if version["trial_rows"] is not None:
        label += f", {lifecycle.trial_note(version)},"
    lines = [f"{label} was refused by {len(failed)} of {len(results)} checks:"]
    lines += [f"  {sentence(result)}" for result in failed]
    return "\n".join(lines)


def _failed(results: list[CheckResult]) -> list[CheckResult]:
    return [result for result in results if not result["passed"]]


def _record(
    connection: Connection,
    lease: Lease,
    version: Version,
    spec: Spec,
    results: list[CheckResult],
    tables: set[str],
    compared: Comparison | None = None,
) -> None:
    """Record the results, and open the version's own tables to readers if it passed; raise Refused if it did not."""
    failed = _failed(results)
    state = "refused" if failed else "checked"
    catalog = Catalog(connection)
    with connection.transaction():
        for name in sorted(tables):
            roles.grant_version(connection, name, readable=not failed)
        updated = catalog.execute(
            "versions_check",
            model=version["model"],
            version=version["version"],
            state=state,
            checks=Jsonb(results),
            checks_fingerprint=spec.checks_fingerprint,
            comparison=None if compared is None else Jsonb(compared.without_rows()),
            withhold=any(withheld.warnings(results)),
        )
        _require_recorded(version, updated)
        detail = "; ".join(sentence(result) for result in failed)
        lifecycle.record_end(catalog, version, state, detail or None)
        lease.check(connection)
    if failed:
        raise Refused(refusal_message(version, results), results)


def _require_recorded(version: Version, updated: int) -> None:
    if updated == 1:
        return
    raise NotAllowed(
        f"The checks of {version['model']} version {version['version']} cannot be recorded: it was "
        f"{version['state']} when they began, and was published, retired or made the canary meanwhile."
    )


def _expected_rows(version: Version) -> int:
    """Return the number of rows that a version must have: those of its snapshot but for rejects, and kept ones."""
    return (version["snapshot_rows"] or 0) - (version["rejected"] or 0) + version["kept"]
