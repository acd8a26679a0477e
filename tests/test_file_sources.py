"""Domains from files: values are exact or refused, queries only read, and every error has its class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fix_project import Sandbox, linear
from prescore.errors import DomainInvalid, PrescoreError, SourceUnavailable, StoreFull
from prescore.sources import duckdb_errors

GUID = "B8ACD569-1B2C-4E47-8245-CB3AB4E4CEDE"
SPEC = """
{top}
[domain]
query = "sql/domains/m.sql"
[key]
{key}
{passthrough}
[onnx]
file = "models/m.onnx"
{onnx}
[onnx.inputs]
features = ["x"]
[outputs]
score = {{ from = "score", type = "real" }}
"""


@pytest.fixture
def files(sandbox: Sandbox) -> Sandbox:
    """A project with the model m, whose score is sigmoid(x)."""
    sandbox.onnx(linear([1.0]), "m")
    return sandbox


def write_spec(sandbox: Sandbox, key: str, *, top: str = "", passthrough: str = "", onnx: str = "") -> None:
    """Write the spec of the model m."""
    sandbox.spec(SPEC.format(top=top, key=key, passthrough=passthrough, onnx=onnx), "m")


def _write(sandbox: Sandbox, name: str, text: str) -> None:
    path = sandbox.root / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("expression", "key", "message"),
    [
        ("id::uuid", "text", "Column id is UUID in the domain, but must be text. DuckDB writes every UUID in lower"),
        ("to_json(id)", "text", "Column id is JSON in the domain, but must be text. Texts in JSON have quotes"),
        ("to_json(id)", "uuid", "Column id is JSON in the domain, but must be uuid"),
        ("1::uhugeint", "bigint", "Column id is UHUGEINT in the domain, but must be bigint. Cast it to HUGEINT"),
        ("{'a': id}", "text", "Column id is STRUCT(a VARCHAR) in the domain, but must be text. Cast it"),
        ("'101'::bit", "text", "Column id is BIT in the domain, but must be text"),
        ("interval '1 day'", "timestamp", "Column id is INTERVAL in the domain, but must be timestamp"),
        ("time '10:00'", "text", "Column id is TIME in the domain, but must be text"),
        ("1::double", "text", "Column id is double precision in the domain, but must be text"),
    ],
)
def test_a_type_that_arrow_does_not_show_is_refused(files: Sandbox, expression: str, key: str, message: str) -> None:
    write_spec(files, f'id = "{key}"')
    files.query(f"select {expression} as id, 1::real as x from (select '{GUID}' as id)", "m")
    refused = files.cli("validate", "m")
    assert (refused.code, message in refused.err) == (2, True), refused.err


def test_text_keys_from_json_are_published_as_they_are(files: Sandbox) -> None:
    _write(files, "a.jsonl", f'{{"id":"{GUID}","x":1.5}}\n{{"id":"7","x":1}}\n')
    _write(files, "guids.jsonl", f'{{"id":"{GUID}","x":1.5}}\n')
    _write(files, "mixed.jsonl", '{"id":"abc","x":1.5}\n{"id":7,"x":1}\n')
    write_spec(files, 'id = "text"')
    for name in ("guids", "mixed"):
        files.query(f"select id, x::real as x from 'data/{name}.jsonl'", "m")
        refused = files.cli("run", "m")
        assert (refused.code, "read_json and read_csv take columns" in refused.err) == (2, True), refused.err
    files.query(
        "select id, x::real as x from read_json('data/a.jsonl', columns = {'id': 'VARCHAR', 'x': 'DOUBLE'})", "m"
    )
    assert files.cli("run", "m").code == 0
    assert files.cli("lookup", "m", GUID).code == 0
    # As a uuid, any spelling finds it.
    write_spec(files, 'id = "uuid"')
    files.query("select id, x::real as x from 'data/guids.jsonl'", "m")
    done = files.cli("run", "m", "--allow-breaking")
    assert done.code == 0, done.err
    assert files.cli("lookup", "m", GUID).code == 0


def test_a_float_past_the_exact_integers_is_no_key(files: Sandbox) -> None:
    rows = pa.table({"id": [1234567890123456789.0, 42.0, 2.0**53], "x": pa.array([1.5, 2.5, 3.5], pa.float32())})
    files.data(rows, "a")
    write_spec(files, 'id = "bigint"', top="max_rejects = 2")
    files.query("select * from 'data/a.parquet'", "m")
    assert files.cli("run", "m").code == 0
    assert files.rows("select id from predictions.m") == [(42,)]
    reasons = files.rows("select key ->> 'id', reason from prescore.rejects order by 1")
    assert [key for key, _ in reasons] == ["1.2345678901234568e+18", "9007199254740992.0"]
    assert "has no value for every integer from 9007199254740992 on" in reasons[0][1]


def test_rows_with_a_date_that_no_lookup_can_have_are_rejected(files: Sandbox) -> None:
    write_spec(files, 'd = "date"\nt = "timestamptz"', top="max_rejects = 5")
    files.query(
        "select d::date as d, t::timestamptz as t, 1::real as x from (values ('0044-03-15 (BC)', '2020-01-01'), "
        "('10000-01-01', '2020-01-02'), ('infinity', '2020-01-03'), ('2020-01-01', '0044-03-15 (BC)'), "
        "('2020-01-01', 'infinity'), ('9999-12-31', '2020-01-04'), ('0001-01-01', '9999-12-31')) v(d, t)",
        "m",
    )
    done = files.cli("run", "m")
    assert done.code == 0, done.err
    assert files.rows("select d::text from predictions.m order by d") == [("0001-01-01",), ("9999-12-31",)]
    (reason,) = files.rows("select distinct right(reason, 20) from prescore.rejects where column_name = 'd'")
    assert reason == ("in the domain query.",)


def test_nanoseconds_are_refused_unless_they_are_zero(files: Sandbox) -> None:
    write_spec(files, 't = "timestamp"', top="max_rejects = 1")
    times = pa.array([1_700_000_000_000_000_000, 1_700_000_000_000_000_001], pa.timestamp("ns"))
    files.data(pa.table({"t": times, "x": pa.array([1, 2], pa.float32())}), "a")
    files.query("select * from 'data/a.parquet'", "m")
    assert files.cli("run", "m").code == 0
    assert files.rows("select t::text from predictions.m") == [("2023-11-14 22:13:20",)]


def test_whole_numerics_become_floats_if_they_fit(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"', top="max_rejects = 1")
    # The sum of integers is a HUGEINT.
    files.query("select id, sum(v) as x from (values (1, 16777216), (2, 16777217)) t(id, v) group by id", "m")
    assert files.cli("run", "m").code == 0
    assert files.rows("select id from predictions.m") == [(1,)]
    assert "but real holds every integer only up to 16777216" in files.rows("select reason from prescore.rejects")[0][0]
    files.query("select 1 as id, 1.25 as x", "m")
    refused = files.cli("validate", "m").err
    assert "Column x is numeric(3, 2) in the domain and real in the model, so digits would be lost" in refused


def test_only_the_needed_columns_are_read(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"')
    files.query("select *, error('not needed') as \"ID\", '{}'::json as j from (select 1 as id, 1::real as x)", "m")
    assert files.cli("run", "m").code == 0
    files.query("select 1 as id, 2 as id, 1::real as x", "m")
    assert "Column id appears more than once" in files.cli("validate", "m").err


def test_a_wide_file_fits_in_memory(files: Sandbox) -> None:
    rows = 20_000
    noise = np.random.default_rng(0).normal(size=(300, rows)).astype(np.float32)
    columns = {f"c{number}": values for number, values in enumerate(noise)}
    files.data(pa.table({"id": np.arange(rows), "x": np.ones(rows, np.float32), **columns}), "a")
    files.settings('memory_limit = "30MB"\n')
    write_spec(files, 'id = "bigint"')
    files.query("select * from 'data/a.parquet'", "m")
    assert files.cli("validate", "m").code == 0
    files.query("select 1 as id, length(string_agg(repeat('x', 1000000)))::real as x from range(200)", "m")
    failed = files.cli("validate", "m")
    assert (failed.code, "memory_limit = '30MB' in prescore.toml" in failed.err) == (2, True), failed.err


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("copy (pivot (values (1, 'a', 2.0)) t(id, p, v) on p using sum(v) group by id) to 'data/written.csv'", "COPY"),
        ("create table z as pivot (values (1, 'a', 2.0)) t(id, p, v) on p using sum(v) group by id", "CREATE"),
        ("/* pivot */ (select 1); -- and\nexport database 'data/written'", "EXPORT"),
        ("attach 'data/written.db' as w", "ATTACH"),
        ("from Enable_Logging(storage := 'file', storage_path := 'data/written')", "ENABLE_LOGGING"),
    ],
)
def test_a_query_that_could_write_is_not_run(files: Sandbox, statement: str, word: str) -> None:
    write_spec(files, 'id = "bigint"')
    files.query(statement, "m")
    refused = files.cli("validate", "m")
    assert (refused.code, f"{word}. Nothing was run." in refused.err) == (2, True), refused.err
    assert not list(files.root.rglob("written*"))


@pytest.mark.parametrize(
    "query",
    [
        "pivot (values (1, 'x', 2::real)) t(id, p, v) on p using first(v) group by id",
        "with p as (pivot (values (1, 'x', 2::real)) t(id, p, v) on p using first(v) group by id) from p",
        "select 1 as id, 1::real as x, 2 as enable_logging; -- all of them",
        "select 1 as id, ';'::text, 1::real as x /* ; */ ;\n;\n/* end; */",
        "\ufeffselect 1 as id, 1::real as x;",
    ],
)
def test_a_query_may_pivot_and_end_in_a_comment(files: Sandbox, query: str) -> None:
    write_spec(files, 'id = "bigint"')
    files.query(query, "m")
    done = files.cli("validate", "m")
    assert done.code == 0, done.err


def test_a_file_may_begin_with_a_byte_order_mark(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"')
    files.query("select 1 as id, 1::real as x", "m")
    for name in ("prescore.toml", "specs/m.toml"):
        path = files.root / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert files.cli("validate", "m").code == 0


def _damaged_parquet(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    pq.write_table(pa.table({"id": np.arange(200_000), "x": values}), path, row_group_size=20_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)


def test_an_error_at_any_row_is_the_querys(files: Sandbox) -> None:
    files.settings("")
    write_spec(files, 'id = "bigint"')
    lines = "".join(f"{number},1\n" for number in range(1, 30_001))
    _write(files, "a.csv", f"id,x\n{lines}30001,n/a\n")
    _damaged_parquet(files.root / "data/d.parquet")
    _write(files, "a.jsonl", '{"id":1,"x":1.5}\n' * 30_000 + '{"id":1,"x":\n')
    late_cast = "select id, (case when id > 250000 then 'n/a' else '1' end)::real as x from range(300000) t(id)"
    for query in (
        "select id, x::real as x from 'data/a.csv'",
        "select id, x from 'data/d.parquet'",
        "select id, x::real as x from 'data/a.jsonl'",
        late_cast,
    ):
        files.query(query, "m")
        failed = files.cli("run", "m", "--json")
        assert (failed.code, "Traceback" in failed.err) == (2, False), failed.err
        assert json.loads(failed.out)["error"]["code"] == "domain_invalid"
    assert files.rows("select distinct state from prescore.versions") == [("failed",)]


def test_a_bad_value_is_named_with_its_line_and_the_remedy(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"', onnx='allow_precision_loss = ["x"]', top="max_rejects = 1")
    lines = "".join(f"{number},1,2\n" for number in range(1, 30_001))
    _write(files, "a.csv", f"id,x,y\n{lines}30001,n/a,\n")
    _write(files, "wide.csv", f"id,x,y\n{lines}30001,1,2,3\n")
    _write(files, "a.jsonl", '{"id":1,"x":1.5}\n' * 30_000 + '{"id":2,"x":"n/a"}\n')
    (files.root / "data/latin.csv").write_bytes("id,x,y\n1,2,é\n".encode("latin-1"))
    for query, fault, remedy in (
        (
            "select id, x from 'data/a.csv'",
            "line 30002 of data/a.csv is 30001,n/a,: n/a in column x",
            "try_cast(trim(x)",
        ),
        ("select id, x from 'data/wide.csv'", "line 30002 of data/wide.csv is 30001,1,2,3.", "Fix the line"),
        (
            "select id, x from 'data/a.jsonl'",
            'in line 30001: Failed to cast value to numerical: "n/a"',
            "try_cast(trim(",
        ),
        ("select id, x, y from 'data/latin.csv'", "line 2 of data/latin.csv", "encoding = 'latin-1'"),
    ):
        files.query(query, "m")
        failed = files.cli("run", "m")
        assert (failed.code, fault in failed.err, remedy in failed.err) == (2, True, True), failed.err
        assert len(failed.err) < 600, failed.err
    # A column that is not needed is not read, and the remedy costs the row only.
    files.query("select id, y as x, * from 'data/a.csv'", "m")
    assert "Column id appears more than once" in files.cli("validate", "m").err
    for query, rejected in (
        ("select id, y as x from 'data/a.csv'", 1),
        ("select id, try_cast(trim(x) as double) as x from read_csv('data/a.csv', types = {'x': 'VARCHAR'})", 1),
    ):
        files.query(query, "m")
        done = files.cli("run", "m", "--json")
        report = json.loads(done.out)
        assert (done.code, report["rows"], report["rejected"]) == (0, 30_000, rejected), done.err


def test_quotes_behind_the_lines_that_duckdb_guesses_from_are_no_part_of_a_key(files: Sandbox) -> None:
    write_spec(files, 'id = "text"', top="max_rejects = 1")
    lines = "".join(f"k{number},1\n" for number in range(1, 30_001))
    _write(files, "late.csv", f'id,x\n{lines}"last",1\n')
    _write(files, "early.csv", 'id,x\n"""a""",1\nb,1\n')
    files.query("select id, x::real as x from 'data/late.csv'", "m")
    assert files.cli("run", "m").code == 0
    (reject,) = files.rows("select key ->> 'id', column_name, reason from prescore.rejects")
    assert (*reject[:2], "Add quote = '\"' to read_csv" in reject[2]) == ('"last"', "id", True)
    for query, key in (("read_csv('data/late.csv', quote = '\"')", "last"), ("'data/early.csv'", '"a"')):
        files.query(f"select id, x::real as x from {query}", "m")
        assert files.cli("run", "m").code == 0
        assert files.rows(f"select count(*) from predictions.m where id = '{key}'") == [(1,)]


@pytest.mark.parametrize(
    ("lines", "last", "message"),
    [
        (("id,x,d\n", "{},1,2024-01-01\n"), "1.5,1,2024-01-01\n", "takes column id for BIGINT"),
        (("id,x,d\n", "{},1,2024-01-01\n"), "7,1,2024-01-01 10:00:00\n", "would change 2024-01-01 10:00:00"),
        (
            ("id,x,d\n", "{},1,2024-01-01 10:00:00\n"),
            "7,1,2024-01-01 10:00:00+02:00\n",
            "takes column d for TIMESTAMP,",
        ),
        (("id,x,d\n", "{},1,2024-01-01 10:00:00\n"), "7,1,2024-01-01 10:00:00.0000001\n", "'d': 'VARCHAR'"),
        (("", '{{"id":{},"x":1,"d":"2024-01-01"}}\n'), '{"id":1.5,"x":1,"d":"2024-01-01"}\n', "columns = {'id'"),
        (("", '{{"id":{},"x":1,"d":"2024-01-01"}}\n'), '{"id":true,"x":1,"d":"2024-01-01"}\n', "would change true"),
    ],
)
def test_a_guessed_type_changes_no_later_value(files: Sandbox, lines: tuple[str, str], last: str, message: str) -> None:
    """DuckDB would read 1.5 as 2, and a time as its day."""
    name = "a.csv" if lines[0] else "a.jsonl"
    body = "".join(lines[1].format(number) for number in range(10, 30_000))
    _write(files, name, lines[0] + body + last)
    kind = "timestamp" if " 10:00" in lines[1] else "date"
    write_spec(files, 'id = "bigint"', passthrough=f'[passthrough]\nd = "{kind}"')
    for query in (f"select * from 'data/{name}'", f"from read_{name[2:6].strip('l')}('data/{name}')"):
        files.query(query, "m")
        refused = files.cli("validate", "m")
        assert (refused.code, message in refused.err) == (2, True), refused.err
    # A column that is not used may hold anything, and so may one whose type is named.
    _write(files, name, lines[0] + body)
    assert files.cli("validate", "m").code == 0
    _write(files, "b.csv", "id,x,unused\n" + "".join(f"{number},1.0,1\n" for number in range(30_000)) + "7e4,1,1.5\n")
    write_spec(files, 'id = "bigint"')
    files.query("select id, x::real as x from 'data/b.csv'", "m")
    done = files.cli("validate", "m")
    assert done.code == 0, done.err


def test_parquet_files_of_several_types_are_not_made_to_fit_the_first(files: Sandbox) -> None:
    """As when pandas had a missing value in one of them. DuckDB would read 1.5 as 2."""
    ones = pa.array([1, 1], pa.float32())
    files.data(pa.table({"id": [1, 2], "x": ones, "other": [1, 2], "few": pa.nulls(2)}), "part1")
    files.data(pa.table({"id": [3, 4], "x": [1.5, 2.5], "other": [1.5, 2.5], "few": [1, 2]}), "part2")
    write_spec(files, 'id = "bigint"', onnx='allow_precision_loss = ["x"]')
    for relation in ("'data/part*.parquet'", "read_parquet(['data/part1.parquet', 'data/part2.parquet'])"):
        files.query(f"from {relation}", "m")
        refused = files.cli("validate", "m")
        assert (refused.code, "column x is DOUBLE and FLOAT in files of data/part" in refused.err) == (2, True)
    files.query("from read_parquet('data/part*.parquet', union_by_name = true)", "m")
    done = files.cli("run", "m")
    assert done.code == 0, done.err
    assert files.rows("select round(max(score)::numeric, 4)::text from predictions.m") == [("0.9241",)]
    # Integers of two sizes are exact, and so is a column that is not used.
    files.data(pa.table({"id": pa.array([3, 4], pa.int32()), "x": ones, "other": [1.5, 2.5], "few": [1, 2]}), "part2")
    files.query("select id, x from 'data/part*.parquet'", "m")
    done = files.cli("validate", "m")
    assert done.code == 0, done.err


def test_a_csv_file_with_nothing_but_a_header_is_an_empty_domain(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"', passthrough='[passthrough]\nday = "date"\nnote = "text"')
    _write(files, "a.csv", "id,x,day,note\n")
    files.query("select * from 'data/a.csv'", "m")
    for command in ("validate", "run"):
        refused = files.cli(command, "m")
        assert (refused.code, "The domain of m is empty" in refused.err) == (4, True), refused.err
    _write(files, "a.csv", "id,x,day,note\n1,none,soon,n\n")
    assert "Column x is text in the domain" in files.cli("validate", "m").err


def test_a_name_in_another_unicode_form_is_pointed_out(files: Sandbox) -> None:
    write_spec(files, '"größe" = "bigint"')
    files.query('select 1 as "gro\u0308ße", 1::real as x', "m")
    assert "which looks the same, but has other Unicode characters" in files.cli("validate", "m").err


def test_a_passed_through_column_is_no_feature(files: Sandbox) -> None:
    write_spec(files, 'id = "bigint"', passthrough='[passthrough]\nr = "real"')
    files.query("select 1 as id, 1::real as x, 16777217 as r", "m")
    refused = files.cli("validate", "m").err
    assert "but real holds every integer only up to 16777216: the table would have a different number" in refused
    files.query("select 1 as id, 1::real as x, 2.5::double as r", "m")
    refused += files.cli("validate", "m").err
    assert "Column r is double precision in the domain and real in the spec" in refused
    assert "allow_precision_loss" not in refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP Error: HTTP GET error on 'https://x/a.parquet' (HTTP 503)", SourceUnavailable),
        ("HTTP Error: HTTP GET error on 'https://x/a.parquet' (HTTP 429)", SourceUnavailable),
        ("HTTP Error: HTTP HEAD error on 'https://x/a.parquet' (HTTP 404)", DomainInvalid),
        ("IO Error: Could not establish connection error for HTTP HEAD to 'https://x/a.parquet'", SourceUnavailable),
        ('IO Error: Could not read from file "a.parquet": Stale file handle', SourceUnavailable),
        ('IO Error: No files found that match the pattern "a.parquet"', DomainInvalid),
        ('HTTP Error: Failed to download extension "excel": Could not establish connection', DomainInvalid),
        ('Binder Error: No extension found that is capable of reading the file "a.arrow"', DomainInvalid),
        ('IO Error: Could not set lock on file "w.duckdb": Conflicting lock is held in python', SourceUnavailable),
        ('IO Error: Cannot open file "a.parquet": Too many open files', SourceUnavailable),
        ('IO Error: Cannot open file "a.parquet": Permission denied', DomainInvalid),
        ("Invalid Input Error: Snappy decompression failure", DomainInvalid),
        ("Out of Memory Error: failed to allocate data of size 256.0 KiB (366.0 MiB/366.2 MiB used)", DomainInvalid),
        ('IO Error: Could not write to file "t.tmp": No space left on device', StoreFull),
    ],
)
def test_every_error_of_duckdb_has_the_right_class(tmp_path: Path, text: str, expected: type[PrescoreError]) -> None:
    found = duckdb_errors.classified("The query failed", OSError(text), memory_limit="384MB", spill=tmp_path)
    assert type(found) is expected
