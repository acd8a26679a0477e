"""Deltas of keys and outputs of every kind, without a model file, on a store at a URL."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fix_project import Sandbox
from fix_store import S3
from prescore.errors import Refused
from prescore.run import audit, materialize

SPEC = """
max_rejects = 5
[domain]
query = "sql/domains/churn.sql"
[key]
account = "uuid"
day = "date"
place = "text"
seen = "timestamptz"
number = "smallint"
[outputs]
score = { type = "real" }
exact = { type = "double precision" }
embedding = { type = "real[]" }
tags = { type = "text[]" }
label = { type = "text" }
[incremental]
rebase = 0.5
"""
QUERY = """
select ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid as account,
       date '1999-12-31' + (i // 10)::integer as day,
       'é' || (i % 3) as place,
       timestamptz '2026-01-01 00:00:00.123456+00' + to_seconds(i) as seen,
       (i % 100)::smallint as number,
       score,
       i + 0.25::double as exact,
       if(score < 0, [score], [score, 0.5])::float[] as embedding,
       ['a', 'b ' || i] as tags,
       'l' || i as label
from read_parquet('data/customers.parquet')
"""
SHOWN = """
select right(account::text, 4)::integer, day - date '1999-12-31', place, number, score, exact, embedding, tags, label
from predictions.churn order by 1
"""


def _write(project: Sandbox, scores: dict[int, float]) -> None:
    numbers = pa.array(list(scores), pa.int64())
    project.data(pa.table({"i": numbers, "score": pa.array(scores.values(), pa.float32())}))


def _shown(scores: dict[int, float]) -> list[tuple[object, ...]]:
    return [
        (i, i // 10, f"é{i % 3}", i % 100, score, i + 0.25, [score, 0.5], ["a", f"b {i}"], f"l{i}")
        for i, score in sorted(scores.items())
        if not np.isnan(score)
    ]


def test_keys_and_outputs_of_every_type(sandbox: Sandbox, s3: S3) -> None:
    sandbox.settings(f'chunk_rows = 100\nstore = "{s3.url}"\n')
    sandbox.spec(SPEC)
    sandbox.query(QUERY)
    # A base with rejects, whose keys come back from the catalog as text.
    scores = {i: i / 2 for i in range(300)} | {3: np.nan, 250: np.nan}
    nights = [
        ({}, []),
        # Changed, rejected, cured, new and vanished.
        ({0: 9.0, 120: np.nan, 250: 7.0, 400: 1.0}, [299]),
        ({}, []),
        ({3: 8.0, 120: 5.0, 0: 0.0, 299: 149.5}, [1]),
        # More than half of the rows.
        (dict.fromkeys(range(2, 151), 1.5), []),
    ]
    found = []
    for changed, gone in nights:
        scores |= changed
        for key in gone:
            del scores[key]
        _write(sandbox, scores)
        report = materialize.run(sandbox.job())
        assert sandbox.rows(SHOWN) == _shown(scores)
        assert audit.verify(sandbox.job()).identical
        changes = report.changes or {}
        found.append(tuple(changes.get(name) for name in ("carried", "changed", "new", "vanished")))
    # Keys 3 and 250 were rejected by the base, so that they are scored again. The third version repeats all rows.
    assert found[1:4] == [(295, 4, 1, 1), (298, 0, 0, 0), (296, 3, 1, 1)]
    assert [name for name in s3.objects() if name.startswith("snapshots/")] == sorted(
        f"{location}" for (location,) in sandbox.rows("select distinct snapshot_location from prescore.versions")
    )
    assert found[4] == (None, None, None, None)
    # A changed row has an array of another length than the rows of the base.
    _write(sandbox, scores | {5: -1.0})
    with pytest.raises(Refused, match="embedding has 1 to 2 elements; tags has 2 elements"):
        materialize.run(sandbox.job())
