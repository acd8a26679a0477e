"""A snapshot is compared with that of its base: which rows are new, differ or vanished, and what is written of them."""

from __future__ import annotations

import io
import math
import struct
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prescore.catalog.types import KEY_TYPES
from prescore.errors import Mistake, NotFound, StoreUnavailable
from prescore.scoring.column_types import ARROW
from prescore.steps import changes
from prescore.steps.changes import Changes
from prescore.store import snapshot_file

FLOATS = [0.0, -0.0, 1.5, math.nan, math.inf, None]
VALUES: dict[str, list[Any]] = {
    "smallint": [1, -2, None],
    "integer": [1, -2, None],
    "bigint": [2**53, 2**53 + 1, None],
    "real": FLOATS,
    "double precision": FLOATS,
    "boolean": [True, False, None],
    "text": ["", "a", "A", "a ", "\N{COMBINING ACUTE ACCENT}", None],
    "uuid": [bytes(16), bytes(15) + b"\1", None],
    "date": [date(1, 1, 1), date(9999, 12, 31), None],
    "timestamp": [datetime(1, 1, 1), datetime(2026, 3, 29, 2, 30), None],  # noqa: DTZ001 - without a zone
    "timestamptz": [datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC), None],
    "real[]": [[], [0.0], [-0.0], [math.nan], [None], [0.0, 1.5], None],
    "double precision[]": [[], [0.0], [-0.0], [math.nan], [None], None],
    "bigint[]": [[], [1], [1, 1], None],
    "text[]": [[], [""], ["a"], ["a", "b"], [None], None],
    "vector": [[0.0], [-0.0], None],
    "float16": FLOATS,
}
"""Type → values of which each differs from all others."""
TYPES = {**ARROW, "float16": pa.float16(), "int8": pa.int8(), "numeric": pa.decimal128(38, 4)}
VALUES |= {"int8": [1, -1, None], "numeric": [1, -1, None]}


def compare(snapshot: pa.Table, base: pa.Table, key: list[str], folder: Path, again: pa.Table | None = None) -> Changes:
    """Return the changes of two snapshots that can be compared."""
    found = find(snapshot, base, key, folder, again)
    assert found is not None
    return found


def find(
    snapshot: pa.Table,
    base: pa.Table,
    key: list[str],
    folder: Path,
    again: pa.Table | None = None,
    memory_limit: str = "384MB",
) -> Changes | None:
    """Write two snapshots in chunks of four rows, and compare them."""
    ours, theirs = freeze(snapshot, folder / "snapshot.parquet"), freeze(base, folder / "base.parquet")
    return changes.find(ours, theirs, key, again, memory_limit=memory_limit, spill=folder / "spill")


def freeze(rows: pa.Table, path: Path, chunk_rows: int = 4) -> Path:
    """Write rows as a snapshot."""
    with snapshot_file.open_writer(path, rows.schema) as writer:
        writer.write_table(rows, row_group_size=chunk_rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files every example replaces, with characters that file patterns give a meaning."""
    path = tmp_path_factory.mktemp("changes") / "day=1 [a]*?'"
    path.mkdir()
    return path


KEYS = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3))
FEATURES = st.tuples(st.sampled_from(FLOATS), st.sampled_from(VALUES["real[]"]))
ROWS = st.lists(st.tuples(KEYS, FEATURES), max_size=9, unique_by=lambda row: row[0])
REPEATING = st.lists(st.tuples(KEYS, FEATURES), max_size=9)
SCHEMA = pa.schema({"a": pa.string(), "b": pa.int32(), "x": pa.float32(), "y": pa.list_(pa.float32())})


def table(rows: list[Any]) -> pa.Table:
    """Return generated rows as a table."""
    columns = zip(*((*key, *features) for key, features in rows), strict=True) if rows else ((), (), (), ())
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def bits(value: Any) -> Any:
    """Return a value that equals another only if both are the same: floats as their bytes, NaN as one value."""
    if isinstance(value, list | tuple):
        return [bits(element) for element in value]
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("d", value)
    return value


@settings(deadline=None, max_examples=40)
@given(snapshot=ROWS | REPEATING, base=ROWS, shared=st.data(), again=st.lists(KEYS, max_size=2))
def test_changes_are_those_of_a_row_by_row_comparison(
    folder: Path, snapshot: list[Any], base: list[Any], shared: st.DataObject, again: list[Any]
) -> None:
    # Most rows of a snapshot are as in the base.
    same = shared.draw(st.lists(st.sampled_from(base), unique_by=lambda row: row[0])) if base else []
    snapshot = [*same, *(row for row in snapshot if row[0] not in dict(same))]
    wanted = pa.table({"b": pa.array([b for _, b in again], pa.int64()), "a": pa.array([a for a, _ in again])})
    found = find(table(snapshot), table(base), ["a", "b"], folder, wanted)
    if max(Counter(key for key, _ in snapshot).values(), default=1) > 1:
        assert found is None
        return
    assert found is not None
    old, kept = dict(base), dict(snapshot)
    differs = [key not in old or key in again or bits(old[key]) != bits(row) for key, row in snapshot]
    assert found.scored.dtype == np.int64
    assert found.scored.tolist() == [number for number, changed in enumerate(differs) if changed]
    assert found.new == len(kept.keys() - old.keys())
    vanished = found.vanished.to_pylist()
    assert sorted((row["a"], row["b"]) for row in vanished) == sorted(old.keys() - kept.keys())
    assert found.carried == differs.count(False)


@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_type_are_compared_exactly(tmp_path: Path, name: str) -> None:
    pairs = [(old, new) for old in VALUES[name] for new in VALUES[name]]
    expected = [number for number, (old, new) in enumerate(pairs) if bits(old) != bits(new)]
    tables = [
        pa.table({"id": pa.array(range(len(pairs)), pa.int32()), "value": pa.array(values, TYPES[name])})
        for values in zip(*pairs, strict=True)
    ]
    found = compare(tables[0], tables[1], ["id"], tmp_path)
    assert found.scored.tolist() == expected
    assert (found.new, found.vanished.num_rows) == (0, 0)


@pytest.mark.parametrize("name", KEY_TYPES)
def test_keys_of_every_type_are_matched(tmp_path: Path, name: str) -> None:
    first, second = [value for value in VALUES[name] if value is not None][:2]
    kind = ARROW[name]
    snapshot = pa.table({"x": pa.array([1], pa.int64()), "key": pa.array([second], kind)})
    both = pa.table({"key": pa.array([first, second], kind), "x": pa.array([1, 1], pa.int64())})
    fewer = compare(snapshot, both, ["key"], tmp_path)
    assert fewer.vanished.equals(pa.table({"key": pa.array([first], kind)}))
    assert (len(fewer.scored), fewer.new, fewer.carried) == (0, 0, 1)
    more = compare(both, snapshot, ["key"], tmp_path)
    assert (more.scored.tolist(), more.new, more.carried) == ([0], 1, 1)
    again = pa.table({"key": pa.array([second, first], kind)})
    assert compare(snapshot, both, ["key"], tmp_path, again).scored.tolist() == [0]


def test_nans_are_equal_whatever_their_bits(tmp_path: Path) -> None:
    quiet = np.array([0x7FC00000, 0x7FC00000], np.uint32).view(np.float32)
    others = np.array([0xFFC00000, 0x7FC00001], np.uint32).view(np.float32)
    found = compare(pa.table({"id": [1, 2], "x": quiet}), pa.table({"id": [1, 2], "x": others}), ["id"], tmp_path)
    assert found.carried == 2


def test_names_of_columns_may_be_any(tmp_path: Path) -> None:
    names = ["c0", 'the "key"', "Key", "key", "position", "file_row_number", "ü", "a.b", "a", "day"]
    base = pa.table({name: [1, 2, 3] for name in names})
    for name in names[1:]:
        changed = base.set_column(names.index(name), name, [pa.array([1, 2, 4])]).select(names[::-1])
        found = compare(changed, base, ["c0"], tmp_path)
        assert found.scored.tolist() == [2], name


@pytest.mark.parametrize(
    "other",
    [
        {"id": pa.int64(), "x": pa.float64()},
        {"id": pa.int32(), "x": pa.float32()},
        {"id": pa.int64(), "y": pa.float32()},
        {"id": pa.int64()},
        {"id": pa.int64(), "x": pa.float32(), "y": pa.bool_()},
    ],
)
def test_snapshots_with_other_columns_cannot_be_compared(tmp_path: Path, other: dict[str, pa.DataType]) -> None:
    snapshot = pa.schema({"id": pa.int64(), "x": pa.float32()}).empty_table()
    assert find(snapshot, snapshot, ["id"], tmp_path) is not None
    assert find(snapshot, pa.schema(other).empty_table(), ["id"], tmp_path) is None
    assert find(pa.schema(other).empty_table(), snapshot, ["id"], tmp_path) is None


@pytest.mark.parametrize(
    ("snapshot", "base"),
    [
        ([1, 2, 2], [1, 2]),
        ([1, 2], [1, 2, 2]),
        ([1, 1, 2], [1, 2, 2]),
        ([1, 3, 3], [1]),
        ([1], [1, 3, 3]),
        ([1] * 50_000, [1] * 50_000),
    ],
)
def test_snapshots_with_a_repeated_key_cannot_be_compared(tmp_path: Path, snapshot: list[int], base: list[int]) -> None:
    ours = freeze(pa.table({"id": snapshot}), tmp_path / "snapshot.parquet", 10_000)
    theirs = freeze(pa.table({"id": base}), tmp_path / "base.parquet", 10_000)
    assert changes.find(ours, theirs, ["id"], memory_limit="384MB", spill=tmp_path / "spill") is None


class Remote(io.FileIO):
    """A file as an object store returns it, which does not answer from `reads` reads on."""

    reads = 1_000_000

    def read(self, size: int | None = -1) -> bytes:
        """Return some bytes, or raise StoreUnavailable."""
        self.reads -= 1
        if self.reads < 0:
            raise StoreUnavailable("The store does not answer.")
        return super().read(-1 if size is None else size)


def test_a_store_that_stops_answering_is_reported_as_such(tmp_path: Path) -> None:
    path = freeze(pa.table({"id": range(20), "x": [1.0] * 20}), tmp_path / "snapshot.parquet")
    with Remote(path) as remote:
        complete = changes.find(path, remote, ["id"], memory_limit="384MB", spill=tmp_path / "spill")
        needed = Remote.reads - remote.reads
    assert complete is not None
    assert complete.carried == 20
    for reads in range(needed):
        with Remote(path) as remote:
            remote.reads = reads
            with pytest.raises(StoreUnavailable, match="does not answer"):
                changes.find(path, remote, ["id"], memory_limit="384MB", spill=tmp_path / "spill")
    with pytest.raises(NotFound, match=r"gone\.parquet cannot be read"):
        changes.find(path, tmp_path / "gone.parquet", ["id"], memory_limit="384MB", spill=tmp_path / "spill")


def test_damage_in_the_middle_of_a_snapshot_is_reported(tmp_path: Path) -> None:
    path = freeze(pa.table({"id": range(1000)}), tmp_path / "snapshot.parquet", 100)
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(content)
    with pytest.raises(NotFound, match=r"damaged\.parquet cannot be read"):
        changes.find(path, damaged, ["id"], memory_limit="384MB", spill=tmp_path / "spill")


def test_memory_is_limited_and_the_spill_folder_is_removed(tmp_path: Path) -> None:
    rows = 400_000
    base = pa.table({"id": np.arange(rows), **{f"x{i}": np.random.default_rng(i).random(rows) for i in range(12)}})
    ours = freeze(base.set_column(1, "x0", [np.arange(rows) % 100 * 1.0]), tmp_path / "snapshot.parquet", 50_000)
    theirs = freeze(base, tmp_path / "base.parquet", 50_000)
    spill = tmp_path / "spill"
    found = changes.find(ours, theirs, ["id"], memory_limit="64MB", spill=spill)
    assert found is not None
    assert len(found.scored) == rows
    assert not spill.exists()
    with pytest.raises(Mistake, match=r"needs more memory than memory_limit = '1MB' in prescore\.toml"):
        changes.find(ours, theirs, ["id"], memory_limit="1MB", spill=spill)
    assert not spill.exists()


@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
def test_changed_rows_are_written_as_a_snapshot(tmp_path: Path, chunk_rows: int) -> None:
    rows = pa.table({"id": range(20)} | {
        name: pa.array([values[row % len(values)] for row in range(20)], TYPES[name]) for name, values in VALUES.items()
    })  # fmt: skip
    snapshot = freeze(rows, tmp_path / "snapshot.parquet")
    positions = np.array([0, 1, 4, 5, 6, 7, 15, 19])
    path = tmp_path / "changed.parquet"
    with Remote(snapshot) as remote:
        chunks = changes.write(remote, positions, path, chunk_rows)
    written = pq.ParquetFile(path)
    assert written.num_row_groups == chunks
    assert max(written.metadata.row_group(number).num_rows for number in range(chunks)) <= chunk_rows
    assert written.schema_arrow.equals(pq.read_schema(snapshot), check_metadata=True)
    assert repr(written.read().to_pylist()) == repr(rows.take(positions).to_pylist())
    assert changes.write(snapshot, positions, path, chunk_rows) == chunks
    empty = tmp_path / "empty.parquet"
    assert changes.write(snapshot, positions[:0], empty, chunk_rows) == 0
    assert pq.read_schema(empty).equals(pq.read_schema(snapshot))
