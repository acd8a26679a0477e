"""What people get wrong: each a clear message, the right exit code, nothing published, the next run unharmed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable

import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_postgres import LOCKED
from fix_project import Sandbox, customers, linear


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


def _maps_for_tensors(sandbox: Sandbox) -> None:
    values = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])]
    scalar = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    mapped = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, scalar))
    maps = helper.make_value_info("probabilities", mapped)
    node = helper.make_node("ZipMap", ["features"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph([node], "maps", values, [maps])
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


MISHAPS: list[tuple[Callable[[Sandbox], None], int, str]] = [
    (_duplicates, 4, "keys that stand more than once: (0) 2 times"),
    (_null_key, 4, "Key column customer is null: a row without a key cannot be looked up (customer=None)"),
    (_null_feature, 4, "saw 1,000 rows set aside: such as Feature visits is null"),
    (_empty, 4, "The domain of churn is empty"),
    (_missing_column, 2, "feature column spend is missing; the query gives customer, visits"),
    (_text_for_number, 2, "Column visits is text in the domain and must be real"),
    (_narrowing, 2, "digits would be lost"),
    (_large_integer, 4, "past 16777216 not every integer has a real of its own"),
    (_key_too_small, 4, "Column customer does not fit bigint"),
    (_no_model, 2, "There is no ONNX file"),
    (_empty_model, 2, "is empty"),
    (_truncated_model, 2, "cannot be loaded as an ONNX model"),
    (_other_width, 2, "onnx.inputs.features takes 3 columns; the spec names visits, spend"),
    (_no_such_output, 2, "the model has no output probability; it has score"),
    (_malformed, 2, 'freshness.max_age: write a number and a unit, such as "90m"'),
    (_not_toml, 2, "is not readable as TOML"),
    (_no_query, 2, "There is no readable domain query"),
    (_query_fails, 2, "The domain query sql/domains/churn.sql does not run"),
    (_query_misspelt, 2, "LINE 4: form nowhere"),
    (_two_statements, 2, "must be one SELECT; it is COPY, then SELECT. Nothing of it was run."),
    (_no_select, 2, "must be one SELECT; it is CREATE"),
    (_name_in_the_spec, 2, "a model has the name of its file, churn"),
    (_maps_for_tensors, 2, "(skl2onnx: zipmap=False)"),
    (_empty_query, 2, "sql/domains/churn.sql is empty"),
    (_folder_for_model, 2, "models is a folder"),
    (_text_for_model, 2, "or is a file of another kind under that name"),
    (_query_fails_half_way, 2, "a bad row"),
    (_no_such_expectation, 2, "Great Expectations has no expect_column_values_to_be_betwixt"),
    (_nul_in_text, 4, "holds a NUL character, which no text in Postgres can"),
    (_long_key, 2, "too long for Postgres to index"),
    (_no_such_role, 2, "grants.select names nobody_here, which this server does not have"),
    (_clock_without_time, 2, "column seen is NULL in every row"),
    (_clock_of_text, 2, "column seen, for data_as_of, is string and no time"),
    (_clock_in_the_future, 2, "which is yet to come"),
]


@pytest.mark.parametrize(("mishap", "code", "message"), MISHAPS, ids=[m[0].__name__[1:] for m in MISHAPS])
def test_a_mishap_is_told_and_changes_nothing(
    sandbox: Sandbox, mishap: Callable[[Sandbox], None], code: int, message: str
) -> None:
    assert sandbox.cli("run", "churn").code == 0
    before = sandbox.rows("select customer, version, score from predictions.churn order by customer")
    good = {
        path: path.read_bytes() for path in sandbox.root.rglob("*") if path.is_file() and ".prescore" not in path.parts
    }

    mishap(sandbox)
    done = sandbox.cli("run", "churn")
    assert (done.code, message in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert not (sandbox.root / "written.csv").exists()
    assert sandbox.rows("select customer, version, score from predictions.churn order by customer") == before

    for path, content in good.items():
        path.write_bytes(content)
    again = sandbox.cli("run", "churn")
    assert again.code == 0, again.err
    served = sandbox.rows("select model, published_version from prescore.models")
    assert served == [("churn", sandbox.rows("select max(version) as v from prescore.versions")[0][0])]


def _in_check(mishap: Callable[[Sandbox], None]) -> bool:
    # Rows that collide, and what Postgres alone objects to, are not known before there is a table.
    return mishap not in (_duplicates, _long_key, _no_such_role)


@pytest.mark.parametrize(
    ("mishap", "code", "message"),
    [m for m in MISHAPS if _in_check(m[0])],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_check_tells_it_before_anything_is_written(
    sandbox: Sandbox, mishap: Callable[[Sandbox], None], code: int, message: str
) -> None:
    mishap(sandbox)
    done = sandbox.cli("check", "churn")
    assert (done.code, message in done.err) == (code, True), done.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]
    assert not (sandbox.root / ".prescore/store/snapshots").exists()


def test_every_fault_of_a_spec_is_told_at_once(sandbox: Sandbox) -> None:
    sandbox.edit('customer = "bigint"', 'customer = "int8"')
    sandbox.edit('max_age = "26h"', 'max_age = "soon"')
    sandbox.edit("versions = 3", "version = 3")
    sandbox.edit("[domain]", 'indexes = [["when"]]\n[domain]')
    done = sandbox.cli("check", "churn")
    assert done.code == 2
    for key in ("key.customer", "freshness.max_age", "retention.version", "indexes: no column when"):
        assert key in done.err


def test_every_fault_of_the_settings_is_told_at_once(sandbox: Sandbox) -> None:
    sandbox.settings('chunk_row = 10\nworkers = "many"\nstore = 3\nmemory_limit = "lots"\n')
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "chunk_row: no such key here; did you mean chunk_rows?" in done.err
    assert "workers: must be a whole number (given: 'many')" in done.err
    assert "store: must be text, in quotes (given: '3')" in done.err
    assert "memory_limit: write a whole number and MB or GB" in done.err


def test_a_query_is_quoted_as_its_author_wrote_it(sandbox: Sandbox) -> None:
    sandbox.query("select customer,\n  visits spned spend\nfrom read_parquet('data/customers.parquet');\n")
    done = sandbox.cli("check", "churn")
    assert "LINE 2:   visits spned spend" in done.err
    assert "limit 0" not in done.err
    sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet');\n")
    assert sandbox.cli("check", "churn").code == 0


def test_a_database_quotes_a_query_as_its_author_wrote_it(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", sandbox.database.sqlalchemy_url)
    sandbox.settings('[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    sandbox.edit('query = "sql', 'source = "warehouse"\nquery = "sql')
    sandbox.query("select 1 as customer,\n  2 form nowhere")
    done = sandbox.cli("check", "churn")
    assert (done.code, "LINE 2:   2 form nowhere" in done.err) == (2, True), done.err
    assert "as domain" not in done.err


def test_a_refused_domain_counts_no_rows(sandbox: Sandbox) -> None:
    sandbox.data(customers(0))
    done = sandbox.cli("run", "churn")
    assert "churn version 1: nothing was staged, since the domain itself was refused" in done.out
    assert "0 rows" not in done.out


def test_a_model_that_has_no_spec(sandbox: Sandbox) -> None:
    done = sandbox.cli("run", "nosuch")
    assert done.code == 2
    assert "prescore init nosuch" in done.err
    misspelt = sandbox.cli("run", "Churn")
    assert misspelt.code == 2
    assert "Did you mean churn?" in misspelt.err
    assert "names are lower case letters" in misspelt.err
    assert "init" not in misspelt.err


def test_a_wrong_password(sandbox: Sandbox, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "host=/" not in server:
        pytest.skip("the role with a password is made on the embedded server only")
    for password in ("", ":wrong"):
        url = sandbox.database.url.replace("postgres@", f"{LOCKED}{password}@", 1)
        monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
        done = sandbox.cli("run", "churn")
        assert done.code == 2, done.err
        assert "refuses the login" in done.err
        assert "Check user, password and database" in done.err
        assert "wrong" not in done.err.replace("password", "")


def test_a_role_that_is_not_there(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", sandbox.database.url.replace("postgres@", "nobody@", 1))
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "refuses the login" in done.err
    assert "nobody" in done.err


def test_no_database(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PRESCORE_DATABASE_URL", f"postgresql://u:secret@127.0.0.1:{taken.getsockname()[1]}/none")
        done = sandbox.cli("run", "churn")
    assert done.code == 3
    assert "Cannot work with Postgres at 127.0.0.1" in done.err
    assert "secret" not in done.err


def test_no_database_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "Set PRESCORE_DATABASE_URL" in done.err


def test_outside_a_project(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_PROJECT", os.sep)
    done = sandbox.cli("run", "churn")
    assert done.code == 2
    assert "prescore init NAME" in done.err


@pytest.mark.parametrize("command", [["run", "churn"], ["init", "other"]])
def test_a_project_that_is_nowhere(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    nowhere = sandbox.root / "nowhere"  # below the project: the one above must not step in
    monkeypatch.setenv("PRESCORE_PROJECT", str(nowhere))
    done = sandbox.cli(*command)
    assert done.code == 2
    assert f"PRESCORE_PROJECT names {nowhere}, which is no folder" in done.err


def test_check_tells_programs_what_fits(sandbox: Sandbox) -> None:
    done = sandbox.cli("check", "--json")
    assert (done.code, json.loads(done.out)) == (0, [{"model": "churn", "rows": 1000, "rejected": 0}])
    sandbox.query("select")
    assert json.loads(sandbox.cli("check", "--json").out)["error"]["code"] == "domain_invalid"


@pytest.mark.parametrize("url", ["foo", "sqlite:///x.db", "postgresql://h:abc/x", "postgresql://h:99999/x"])
def test_a_url_that_is_none(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    done = sandbox.cli("status")
    assert done.code == 2, done.err
    assert "PRESCORE_DATABASE_URL is no Postgres URL" in done.err


def test_a_folder_that_cannot_be_written(sandbox: Sandbox) -> None:
    (sandbox.root / ".prescore").write_text("a file where a folder should be")
    done = sandbox.cli("run", "churn")
    assert done.code == 3, done.err
    assert ".prescore" in done.err


def test_the_catalogs_commands_need_no_project(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert sandbox.cli("run", "churn", "--full").code == 0
    monkeypatch.delenv("PRESCORE_PROJECT")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for command in (
        ["status"],
        ["versions", "churn"],
        ["history", "churn"],
        ["lookup", "churn", "7"],
        ["diff", "churn", "1", "2"],
        ["hold", "churn", "--reason", "a look"],
        ["release", "churn"],
        ["pin", "churn", "1"],
        ["unpin", "churn", "1"],
        ["rollback", "churn"],
        ["db", "url"],
        ["db", "migrate"],
    ):
        done = sandbox.cli(*command)
        assert done.code == 0, (command, done.err)
    assert sandbox.rows("select published_version from prescore.models") == [(1,)]
    for command in (["run", "churn"], ["publish", "churn", "2"], ["retire", "churn"]):
        done = sandbox.cli(*command)
        assert (done.code, "`prescore init NAME` starts a project here" in done.err) == (2, True)


def test_a_store_that_cannot_be_is_told_to_programs_too(sandbox: Sandbox) -> None:
    sandbox.settings('store = "prescore.toml/x"\n')
    done = sandbox.cli("run", "churn", "--json")
    told = json.loads(done.out)["error"]
    assert (done.code, told["code"]) == (3, "transient")
    assert f"{sandbox.root}/prescore.toml/x" in told["message"]
    assert done.err == f"prescore: {told['message']}\n"


def test_nothing_of_a_duration_that_is_too_long_is_run(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'grace = "99999999d"')
    done = sandbox.cli("check", "churn")
    assert (done.code, "at most" in done.err) == (2, True), done.err


CHECKS = [
    ("min_value = 0", "min = 0", "min: no such argument; did you mean min_value?"),
    ("min_value = 0", "zebra = 0", "zebra: no such argument; it takes column, mostly, row_condition"),
    ("min_value = 0", "mostly = 3", "mostly: ensure this value is less than or equal to 1.0 (given: '3')"),
    ('column = "score"\n', "", "column: is missing"),
    ("column_values_to_be_between", "column_values_to_be_betwixt", "; did you mean column_values_to_be_between?"),
    ("column_values_to_be_between", "expect_column_values_to_be_between", "leave out the leading expect_"),
    ("min_value = 0", "min_value = 3", "its lower bound 3 is above its upper bound 1, so that nothing can pass"),
    ("min_value = 0", 'min_value = "0"', "min_value is '0', and score is real: write a number, without quotes"),
    ("min_value = 0", "min_value = 2024-01-01", "min_value is '2024-01-01', and score is real: write a number"),
    ("min_value = 0", 'min_value = { "$PARAMETER" = "x" }', "min_value: there are no parameters here"),
    ("min_value = 0", 'min_value = 0\nmeta = { a = "b" }', "meta is Great Expectations' own"),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'score > 0.5'",
        "row_condition: Postgres is not asked in such words",
    ),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(score) ! 3'\ncondition_parser = 'great_expectations'",
        "row_condition: unable to parse condition",
    ),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(\"colour\") > 3'\ncondition_parser = 'great_expectations'",
        "row_condition: the table has no column colour",
    ),
]


@pytest.mark.filterwarnings("ignore:.*row_condition|.*condition_parser:DeprecationWarning")
@pytest.mark.parametrize(("old", "new", "told"), CHECKS, ids=[new or "nothing" for _, new, _ in CHECKS])
def test_a_check_that_cannot_be_meant_is_told_before_anything_is_scored(
    sandbox: Sandbox, old: str, new: str, told: str
) -> None:
    sandbox.edit(old, new)
    for command in ("check", "run"):
        done = sandbox.cli(command, "churn", "--json")
        assert done.code == 2, done.err
        assert json.loads(done.out)["error"]["code"] == "spec_invalid"
        assert told in done.err
        assert "type=" not in done.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5], [0.9, 0.5]]", "0.9 is above its upper bound 0.5"),
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5]]", "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1], value_ranges = [[0.5]]", "a lowest and a highest number for each quantile"),
        ('quantiles = [0.1], value_ranges = [["0", 1]]', "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1]", "a lowest and a highest number for each quantile"),
    ],
)
def test_quantiles_have_bounds_in_order(sandbox: Sandbox, ranges: str, told: str) -> None:
    sandbox.edit("column_values_to_be_between", "column_quantile_values_to_be_between")
    sandbox.edit("min_value = 0\nmax_value = 1", f"quantile_ranges = {{ {ranges} }}")
    done = sandbox.cli("check", "churn")
    assert (done.code, told in done.err) == (2, True), done.err


@pytest.mark.filterwarnings("ignore:.*row_condition|.*condition_parser:DeprecationWarning")
def test_a_check_may_be_of_some_rows_only(sandbox: Sandbox) -> None:
    condition = 'row_condition = \'col("customer") < 500\'\ncondition_parser = "great_expectations"'
    sandbox.edit("min_value = 0\n", f"min_value = 0\n{condition}\n")
    done = sandbox.cli("run", "churn")
    assert done.code == 0, done.err
