"""Properties that hold for any data and any order of events."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fix_project import Sandbox, linear
from fix_soak import SOAK
from prescore.catalog import lookup
from prescore.catalog.catalog import Catalog
from prescore.project import spec
from prescore.run import chunk_scoring, freezing, materialize, registration
from prescore.scoring.column_types import ARROW
from prescore.scoring.domain_conversion import DomainConverter
from prescore.sources.source import Batch, Stream
from prescore.steps import snapshot
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions import lease, pointer
from prescore.versions.options import RunOptions

# Shrinking would run a failing example for minutes.
FEW = settings(max_examples=40 if SOAK else 3, phases=[Phase.generate])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{
        kind: st.integers(-(2 ** (n - 1)), 2 ** (n - 1) - 1)
        for kind, n in (("smallint", 16), ("integer", 32), ("bigint", 64))
    },
    "text": st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=300),
    "uuid": st.uuids(),
    "date": st.dates(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(timezones=st.just(UTC)),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "boolean": st.booleans(),
}
KEYS = [kind for kind in VALUES if kind not in ("real", "double precision", "boolean")]
SPEC = """
[domain]
query = "sql/domains/churn.sql"
[key]
"the key" = "{key}"
[passthrough]
{passthrough}
[onnx]
file = "models/churn.onnx"
inputs.features = ["x", "y"]
[outputs]
score = {{ from = "score", type = "real" }}
"""


def _column(kind: str, values: list[Any]) -> pa.Array:
    """Return Python values as a Parquet file may hold them; Parquet has no UUIDs."""
    if kind == "uuid":
        return pa.array([value and str(value) for value in values], pa.string())
    return pa.array(values, ARROW[kind])


def _exact(kind: str, value: Any) -> Any:
    """Return a value for exact comparison: a `real` as four bytes, because Python floats have eight."""
    return np.float32(value) if kind == "real" and value is not None else value


def _rows(kind: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    others = {name: st.none() | values for name, values in VALUES.items()}
    return st.lists(
        st.fixed_dictionaries({"the key": VALUES[kind], **others}),
        min_size=1,
        max_size=12,
        unique_by=lambda row: row["the key"],
    )


def _publish(sandbox: Sandbox) -> None:
    """Publish a new version without the check step, which random data would not pass and which changes no row."""
    job = sandbox.job()
    with lease.holding(job.database, "churn") as held:
        version = registration.begin(job, held, RunOptions(full=True))
        scorer = materialize.load_predictor(job, version)
        freezing.take_snapshot(job, held, version, scorer)
        chunk_scoring.score_chunks(job, held, version, chunk_scoring.pending_chunks(job, version), scorer)
        materialize.finish_table(job, held, version)
        with job.database.connect() as connection:
            connection.execute(
                "update prescore.versions set state = 'checked', checked_at = now() where state = 'staged'"
            )
            pointer.publish(connection, "churn", version)


@pytest.mark.parametrize("kind", KEYS)
def test_a_lookup_returns_exactly_the_values_of_the_domain(sandbox: Sandbox, kind: str) -> None:
    sandbox.settings("chunk_rows = 5\n")
    sandbox.spec(SPEC.format(key=kind, passthrough="\n".join(f'"a {name}" = "{name}"' for name in VALUES)))
    sandbox.query("select *, 0::real as x, 0::real as y from read_parquet('data/customers.parquet')")
    sandbox.onnx(linear([1.0, 1.0]))

    @FEW
    @given(_rows(kind))
    def holds(rows: list[dict[str, Any]]) -> None:
        table = {f"a {name}": _column(name, [row[name] for row in rows]) for name in VALUES}
        sandbox.data(pa.table({"the key": _column(kind, [row["the key"] for row in rows]), **table}))
        _publish(sandbox)
        with sandbox.database.connect() as connection:
            for row in rows:
                key = row["the key"]
                text = key.isoformat() if isinstance(key, date | datetime) else str(key)
                answer = lookup.look_up(Catalog(connection), "churn", [text])
                assert (answer["found"], answer["key"]) == (True, {"the key": key})
                for name in VALUES:
                    np.testing.assert_equal(_exact(name, answer["prediction"][f"a {name}"]), _exact(name, row[name]))

    holds()


@given(
    keys=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    chunk_rows=st.integers(1, 250),
)
def test_chunks_cover_a_domain_exactly_once(tmp_path: Path, keys: list[int], cuts: list[int], chunk_rows: int) -> None:
    """Whatever the sizes of the source's batches, zero included."""
    table = pa.table({"customer": pa.array(keys, pa.int64()), "visits": pa.array([1.0] * len(keys), pa.float32())})
    bounds = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    (whole,) = table.to_batches()
    batches = [Batch(whole.slice(start, end - start)) for start, end in itertools.pairwise(bounds)]
    churn = spec.Spec.model_validate(
        {
            "model": "churn",
            "domain": {"query": "q.sql"},
            "key": {"customer": "bigint"},
            "onnx": {"file": "m.onnx", "inputs": {"x": "visits"}},
            "outputs": {"score": {"from": "score", "type": "real"}},
        }
    )
    converter = DomainConverter(churn, {"visits": pa.float32()}, Stream(table.column_names, table.schema, iter(())))
    path = tmp_path / f"{uuid.uuid4()}.parquet"
    summary = snapshot.write(iter(batches), converter, path, chunk_rows, *[lambda _: None] * 3)
    reader = SnapshotReader(path)
    chunks = [reader.chunk(n) for n in range(summary.chunks)]
    reader.close()
    assert [key for chunk in chunks for key in chunk.column("customer").to_pylist()] == keys
    assert summary.rows == len(keys)
    assert all(0 < chunk.num_rows <= chunk_rows for chunk in chunks)
