"""Mistakes of users: a clear message, the right exit code, nothing published, and the next run intact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_api import fresh_database
from fix_project import Sandbox, customers, linear, write_project
from prescore.catalog.database import Database


def _duplicates(sandbox: Sandbox) -> None:
    sandbox.query("select customer % 500 as customer, visits, spend from read_parquet('data/customers.parquet')")


def _null_key(sandbox: Sandbox) -> None:
    sandbox.query("select nullif(customer, 7) as customer, visits, spend from read_parquet('data/customers.parquet')")


def _null_feature(sandbox: Sandbox) -> None:
    sandbox.query(
        "select customer, nullif(visits, visits) as visits, spend from read_parquet('data/customers.parquet')"
    )


def _empty(sandbox: Sandbox) -> None:
    sandbox.data(customers(0))


def _missing_column(sandbox: Sandbox) -> None:
    sandbox.query("select customer, visits from read_parquet('data/customers.parquet')")


def _text_for_number(sandbox: Sandbox) -> None:
    sandbox.query("select customer, visits::text as visits, spend from read_parquet('data/customers.parquet')")


def _narrowing(sandbox: Sandbox) -> None:
    sandbox.query("select customer, visits::double as visits, spend from read_parquet('data/customers.parquet')")


def _large_integer(sandbox: Sandbox) -> None:
    sandbox.query("select customer, 16777217 + customer as visits, spend from read_parquet('data/customers.parquet')")


def _key_too_small(sandbox: Sandbox) -> None:
    beyond = "customer + 9223372036854775807::hugeint as customer"
    sandbox.query(f"select {beyond}, visits, spend from read_parquet('data/customers.parquet')")


def _no_model(sandbox: Sandbox) -> None:
    (sandbox.root / "models/churn.onnx").unlink()


def _empty_model(sandbox: Sandbox) -> None:
    sandbox.onnx(b"")


def _truncated_model(sandbox: Sandbox) -> None:
    sandbox.onnx(linear([1.0, 1.0])[:-40])


def _lfs_pointer(sandbox: Sandbox) -> None:
    sandbox.onnx(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n")


def _other_width(sandbox: Sandbox) -> None:
    sandbox.onnx(linear([1.0, 1.0, 1.0]))


def _no_such_output(sandbox: Sandbox) -> None:
    sandbox.edit('from = "score"', 'from = "probability"')


def _malformed(sandbox: Sandbox) -> None:
    sandbox.edit('max_age = "26h"', 'max_age = "26 hours"')


def _not_toml(sandbox: Sandbox) -> None:
    sandbox.spec("[domain\n")


def _no_query(sandbox: Sandbox) -> None:
    (sandbox.root / "sql/domains/churn.sql").unlink()


def _query_misspelt(sandbox: Sandbox) -> None:
    sandbox.query("\n-- the third line is blank\n\nform nowhere select 1;\n")


def _two_statements(sandbox: Sandbox) -> None:
    sandbox.query(f"copy (select 1) to '{sandbox.root}/written.csv'; select customer from 'data/customers.parquet'")


def _no_select(sandbox: Sandbox) -> None:
    sandbox.query("create table a as select 1")


def _name_in_the_spec(sandbox: Sandbox) -> None:
    sandbox.edit("description", 'model = "other"\ndescription')


def _sequence_for_tensor(sandbox: Sandbox) -> None:
    values = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])]
    parts = helper.make_tensor_sequence_value_info("score", TensorProto.FLOAT, None)
    node = helper.make_node("SplitToSequence", ["features"], ["score"])
    graph = helper.make_graph([node], "parts", values, [parts])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    sandbox.onnx(bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()))


def _empty_query(sandbox: Sandbox) -> None:
    sandbox.query("-- select 1\n/* nothing;\n yet */ ;\n")


def _folder_for_model(sandbox: Sandbox) -> None:
    sandbox.edit('file = "models/churn.onnx"', 'file = "models"')


def _text_for_model(sandbox: Sandbox) -> None:
    sandbox.onnx(b"not a model\n")


def _query_fails(sandbox: Sandbox) -> None:
    sandbox.query("select customer, visits, spend from read_parquet('data/elsewhere.parquet')")


def _query_fails_half_way(sandbox: Sandbox) -> None:
    sandbox.query(
        "select customer, visits, case when customer = 900 then error('a bad row') else spend end as spend"
        " from read_parquet('data/customers.parquet')"
    )


def _no_such_expectation(sandbox: Sandbox) -> None:
    sandbox.edit("column_values_to_be_between", "column_values_to_be_betwixt")


def _nul_in_text(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx]", '[passthrough]\nname = "text"\n[onnx]')
    sandbox.data(customers().append_column("name", pa.array(["a\x00b"] * 1000)))
    sandbox.query("select customer, visits, spend, name from read_parquet('data/customers.parquet')")


def _long_key(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx]", '[passthrough]\nname = "text"\n[onnx]')
    sandbox.edit("[domain]", 'indexes = [["name"]]\n[domain]')
    rows = customers()
    noise = ["".join(hashlib.sha512(f"{i} {j}".encode()).hexdigest() for j in range(60)) for i in range(1000)]
    sandbox.data(rows.append_column("name", pa.array(noise)))
    sandbox.query("select customer, visits, spend, name from read_parquet('data/customers.parquet')")


def _no_such_role(sandbox: Sandbox) -> None:
    sandbox.edit("[retention]", '[grants]\nselect = ["nobody_here"]\n[retention]')


def _clock_without_time(sandbox: Sandbox) -> None:
    sandbox.edit("[key]", '[domain.data_as_of]\ncolumn = "seen"\n[key]')
    sandbox.query("select customer, visits, spend, null::date as seen from read_parquet('data/customers.parquet')")


def _clock_of_text(sandbox: Sandbox) -> None:
    sandbox.edit("[key]", '[domain.data_as_of]\ncolumn = "seen"\n[key]')
    sandbox.query("select customer, visits, spend, '2024' as seen from read_parquet('data/customers.parquet')")


def _clock_in_the_future(sandbox: Sandbox) -> None:
    sandbox.edit("[key]", "[domain.data_as_of]\nquery = \"select timestamp '2999-01-01' as seen\"\n[key]")


def _clock_of_infinity(sandbox: Sandbox) -> None:
    sandbox.edit("[key]", '[domain.data_as_of]\ncolumn = "seen"\n[key]')
    sandbox.query(
        "select customer, visits, spend, 'infinity'::timestamp as seen from read_parquet('data/customers.parquet')"
    )


MISHAPS: list[tuple[Callable[[Sandbox], None], int, str]] = [
    (_duplicates, 4, "duplicate keys: (0) 2 times"),
    (_null_key, 4, "Key column customer is null: a row without a key cannot be looked up (customer=null)"),
    (_null_feature, 4, "observed 1,000 rejected rows, for example: Feature visits is null"),
    (_empty, 4, "The domain of churn is empty"),
    (_missing_column, 2, "Column spend (feature) is missing; the query returns customer, visits."),
    (_text_for_number, 2, "Column visits is text in the domain, but must be real"),
    (_narrowing, 2, "digits would be lost"),
    (_large_integer, 4, "but real holds every integer only up to 16777216"),
    (_key_too_small, 4, "Column customer does not fit bigint"),
    (_no_model, 2, "Cannot read the ONNX file"),
    (_empty_model, 2, "is empty"),
    (_truncated_model, 2, "cannot be loaded as an ONNX model"),
    (_lfs_pointer, 2, "models/churn.onnx is a pointer of Git LFS, not the model itself. Fetch it with: git lfs pull"),
    (_other_width, 2, "onnx.inputs.features: the model takes 3 columns; the spec lists 2: visits, spend"),
    (_no_such_output, 2, "the model has no output probability; it has score"),
    (_malformed, 2, 'freshness.max_age: must be a number and a unit, such as "90m"'),
    (_not_toml, 2, "is not valid TOML"),
    (_no_query, 2, "Cannot read the domain query"),
    (_query_fails, 2, "The domain query sql/domains/churn.sql failed"),
    (_query_misspelt, 2, "LINE 4: form nowhere"),
    (_two_statements, 2, "must be one SELECT, but it is COPY, then SELECT. Nothing was run."),
    (_no_select, 2, "must be one SELECT, but it is CREATE"),
    (_name_in_the_spec, 2, "the name of the file, churn, names the model"),
    (_sequence_for_tensor, 2, "export the model with tensors instead"),
    (_empty_query, 2, "sql/domains/churn.sql is empty"),
    (_folder_for_model, 2, "models is a folder"),
    (_text_for_model, 2, "it is truncated, or not an ONNX file"),
    (_query_fails_half_way, 2, "a bad row"),
    (_no_such_expectation, 2, "Great Expectations has no expect_column_values_to_be_betwixt"),
    (_nul_in_text, 4, "holds a NUL character (U+0000), which Postgres cannot store in text"),
    (_long_key, 2, "too long for Postgres to index"),
    (_no_such_role, 2, "grants.select names nobody_here, which this server does not have"),
    (_clock_without_time, 2, "column seen is NULL in every row"),
    (_clock_of_text, 2, "Column seen (data_as_of) is text, not a date or a timestamp"),
    (_clock_of_infinity, 2, "column seen holds infinity or a time after the year 9999"),
    (_clock_in_the_future, 2, "which is in the future"),
]


@pytest.fixture(scope="module")
def place(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Database]]:
    """A folder and a database for the project `published`."""
    with fresh_database(server) as database:
        yield tmp_path_factory.mktemp("published"), database


@pytest.fixture
def published(
    place: tuple[Path, Database], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sandbox:
    """The churn project with a published version. Tests share it, and each publishes another one at its end."""
    project = write_project(Sandbox(*place, monkeypatch, capsys))
    if not project.rows("select from prescore.models where published_version is not null"):
        assert project.cli("run", "churn").code == 0
    return project


@pytest.mark.parametrize(("mishap", "code", "message"), MISHAPS, ids=[m[0].__name__[1:] for m in MISHAPS])
def test_a_mishap_has_a_clear_message_and_changes_nothing(
    published: Sandbox, mishap: Callable[[Sandbox], None], code: int, message: str
) -> None:
    before = published.rows("select customer, version, score from predictions.churn order by customer")
    good_files = {
        path: path.read_bytes()
        for path in published.root.rglob("*")
        if path.is_file() and ".prescore" not in path.parts
    }

    mishap(published)
    result = published.cli("run", "churn")
    assert (result.code, message in result.err) == (code, True), result.err
    assert "Traceback" not in result.err
    assert not (published.root / "written.csv").exists()
    assert published.rows("select customer, version, score from predictions.churn order by customer") == before

    for path, content in good_files.items():
        path.write_bytes(content)
    again = published.cli("run", "churn")
    assert again.code == 0, again.err
    served = published.rows("select model, published_version from prescore.models")
    assert served == published.rows("select 'churn', max(version) from prescore.versions")


def _is_found_by_validation(mishap: Callable[[Sandbox], None]) -> bool:
    # Duplicate keys, and what only Postgres objects to, are found once there is a table.
    return mishap not in (_duplicates, _long_key, _no_such_role)


@pytest.mark.parametrize(
    ("mishap", "code", "message"),
    [m for m in MISHAPS if _is_found_by_validation(m[0])],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_validate_reports_it_before_anything_is_written(
    sandbox: Sandbox, mishap: Callable[[Sandbox], None], code: int, message: str
) -> None:
    mishap(sandbox)
    result = sandbox.cli("validate", "churn")
    assert (result.code, message in result.err) == (code, True), result.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]
    assert not (sandbox.root / ".prescore/store/snapshots").exists()


def test_all_faults_of_a_spec_are_reported_at_once(sandbox: Sandbox) -> None:
    sandbox.edit('customer = "bigint"', 'customer = "int8"')
    sandbox.edit('max_age = "26h"', 'max_age = "soon"')
    sandbox.edit("versions = 3", "version = 3")
    sandbox.edit("[domain]", 'indexes = [["when"]]\n[domain]')
    done = sandbox.cli("validate", "churn")
    assert done.code == 2
    for key in ("key.customer", "freshness.max_age", "retention.version", "indexes: the table has no column when"):
        assert key in done.err


def test_all_faults_of_the_settings_are_reported_at_once(sandbox: Sandbox) -> None:
    sandbox.settings('chunk_row = 10\nworkers = "4"\nrequire_examples = "yes"\nstore = 3\nmemory_limit = "lots"\n')
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "chunk_row: unknown key; did you mean chunk_rows?" in done.err
    assert "workers: must be a whole number (given: '4')" in done.err
    assert "require_examples: must be true or false (given: 'yes')" in done.err
    assert "store: must be text, in quotes (given: '3')" in done.err
    assert "memory_limit: must be a whole number and MB or GB" in done.err


def test_an_error_quotes_the_query_as_it_was_written(sandbox: Sandbox) -> None:
    sandbox.query("select customer,\n  visits spned spend\nfrom read_parquet('data/customers.parquet');\n")
    result = sandbox.cli("validate", "churn")
    assert "LINE 2:   visits spned spend" in result.err
    assert "limit 0" not in result.err
    sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet');\n")
    assert sandbox.cli("validate", "churn").code == 0


def test_an_error_of_a_database_quotes_the_query_as_it_was_written(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", sandbox.database.sqlalchemy_url)
    sandbox.settings('[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    sandbox.edit('query = "sql', 'source = "warehouse"\nquery = "sql')
    sandbox.query("select 1 as customer,\n  2 form nowhere")
    result = sandbox.cli("validate", "churn")
    assert (result.code, "LINE 2:   2 form nowhere" in result.err) == (2, True), result.err
    assert "as domain" not in result.err


def test_the_report_on_a_refused_domain_counts_no_rows(sandbox: Sandbox) -> None:
    sandbox.data(customers(0))
    done = sandbox.cli("run", "churn")
    assert "churn version 1: nothing was staged, because the domain itself was refused" in done.out
    assert "0 rows" not in done.out


def test_a_model_without_a_spec_is_reported_with_what_to_do(sandbox: Sandbox) -> None:
    result = sandbox.cli("run", "nosuch")
    assert result.code == 2
    assert "prescore init nosuch" in result.err
    misspelt = sandbox.cli("run", "Churn")
    assert misspelt.code == 2
    assert "Did you mean churn?" in misspelt.err
    assert "names are lower case letters" in misspelt.err
    assert "init" not in misspelt.err
