"""Check a staged version before anyone can see it, and note what the checks said."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog import roles
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.catalog.types import FLOATS
from prescore.checks import expectations
from prescore.checks.results import Result, sentence
from prescore.errors import NotAllowed, Refused
from prescore.project.spec import Spec
from prescore.scoring import rejects
from prescore.versions.lease import Lease


def check_version(
    database: Database,
    connection: Connection,
    lease: Lease,
    version: Version,
    spec: Spec,
    wanted: list[Any],
) -> list[Result]:
    """Every check's result, noted with the version, which is then `checked` or `refused`.

    Those that no spec can switch off come first: rows, rejects, keys, finite. `wanted` are the spec's own, built by
    `expectations.build`. Raises Refused, naming what failed; the refused table is kept for inspection.
    """
    if is_decided(version, spec):
        return version["checks"] or []
    rows, finite, *own = expectations.validate(database, version, [*_compulsory(connection, version), *wanted])
    few = rejects.check(connection, version, spec.max_rejects)
    results = [rows, few, _keys(connection, version), _counted(connection, version, finite), *own]
    failed = [result for result in results if not result["passed"]]
    with connection.transaction():
        roles.grant_version(connection, version["table_name"], readable=not failed)
        _note(Catalog(connection), version, results, failed, spec.checks_fingerprint)
        lease.check(connection)
    if failed:
        raise Refused(refusal_message(version, results), results)
    return results


def is_decided(version: Version, spec: Spec) -> bool:
    """Whether there is nothing left to check: readers have had it, or it passed the same checks.

    Raises NotAllowed for one that was refused: that is its end, and no other verdict comes after it.
    """
    if version["state"] == "refused":
        raise NotAllowed(
            f"{refusal_message(version, version['checks'] or [])}\n"
            "A refused version stays refused, whatever its spec says by now. Mend what is wrong, then make a new "
            "version: trigger a run, or clear the snapshot task of this one together with those after it."
        )
    seen = version["state"] in ("published", "superseded")
    return seen or (version["state"] == "checked" and version["checks_fingerprint"] == spec.checks_fingerprint)


def _note(catalog: Catalog, version: Version, results: list[Result], failed: list[Result], fingerprint: str) -> None:
    model, number, state = version["model"], version["version"], "refused" if failed else "checked"
    said = {"state": state, "checks": Jsonb(results), "checks_fingerprint": fingerprint}
    if catalog.execute("versions_check", model=model, version=number, **said) != 1:
        raise NotAllowed(f"{model} version {number} is {version['state']}, and not one whose checks decide anything.")
    catalog.record_event(model, number, state, "; ".join(sentence(result) for result in failed) or None)


def refusal_message(version: Version, results: list[Result]) -> str:
    """Which checks a version did not pass, and why."""
    failed = [result for result in results if not result["passed"]]
    lines = "\n".join(f"  {sentence(result)}" for result in failed)
    name = f"{version['model']} version {version['version']}"
    return f"{name} was refused by {len(failed)} of {len(results)} checks:\n{lines}"


def _compulsory(connection: Connection, version: Version) -> list[Any]:
    expected = (version["snapshot_rows"] or 0) - (version["rejected"] or 0)
    text = query("checks_not_finite", conditions=_not_finite(version)).as_string(connection)
    # Great Expectations fills {batch} and takes every other brace, as in a column's name, for a mistake unless doubled;
    # SQLAlchemy takes a colon for the beginning of a parameter unless escaped.
    doubled = text.replace("{", "{{").replace("}", "}}").replace("{{batch}}", "{batch}").replace(":", "\\:")
    return expectations.compulsory(expected, doubled)


def _not_finite(version: Version) -> sql.Composed:
    """True for a row with a null, NaN or infinite prediction; passed-through columns may be null."""
    made = [column for column in version["output_columns"] if column["role"] == "output"]
    return sql.SQL(" or ").join(_off(column["name"], column["type"]) for column in made)


def _off(column: str, kind: str) -> sql.Composed:
    infinite = " or {0} in ('NaN', 'Infinity', '-Infinity')" if kind in FLOATS else ""
    return sql.SQL("{0} is null" + infinite).format(sql.Identifier(column))


def _keys(connection: Connection, version: Version) -> Result:
    """A primary key proves that keys are unique and not null; without one there are examples to show."""
    keys = [column["name"] for column in version["key_columns"]]
    result: Result = {"name": "keys", "passed": True, "observed": "unique, none null", "expected": "unique, none null"}
    if not Catalog(connection).one("tables_has_key", table=version["table_name"])["has_key"]:
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(key)) for key in keys)
        table = sql.Identifier(version["table_name"])
        duplicates = connection.execute(query("tables_duplicates", table=table, keys=identifiers(keys), texts=texts))
        shown = [f"({', '.join(row['key'])}) {row['times']} times" for row in duplicates]
        result |= {"passed": False, "observed": "keys that stand more than once: " + ", ".join(shown)}
    return result


def _counted(connection: Connection, version: Version, finite: Result) -> Result:
    """The finite check with a count of rows in place of the expectation's own words."""
    observed = "0 rows that are not"
    if not finite["passed"]:
        count = query(
            "checks_count_not_finite", table=sql.Identifier(version["table_name"]), conditions=_not_finite(version)
        )
        row = connection.execute(count).fetchone() or {}
        observed = f"{row['rows']:,} rows that are not" if row["rows"] else finite["observed"]
    return {**finite, "observed": observed, "expected": "every prediction finite and not null"}
