"""Keys that the domain does not have any more: dropped, kept with the age of their own inputs, or remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from fix_api import serving, until_in_memory
from fix_client import address
from fix_incremental import interrupted
from fix_project import SPEC, Sandbox, customers
from prescore.errors import Busy, NotAllowed
from prescore.run import audit, materialize
from prescore.run.report import Report
from prescore.versions import kept as kept_rows
from prescore.versions import withheld
from prescore.versions.options import DEFAULTS, RunOptions
from prescore_api.client import Answer, Client, Options, ScoreAnswer, TooOld, parts
from prescore_api.formats import arrow
from prescore_api.http.app import ServerSettings, build

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
DATA_AS_OF = """
select distinct extract(epoch from data_as_of - '2026-01-01 00:00Z')::integer / 3600 from predictions.churn order by 1
"""
WITHOUT_CHECKS = SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :]


@pytest.fixture(params=["full", "incremental", "rebase = 0"])
def project(sandbox: Sandbox, request: Any) -> Sandbox:
    incremental = {"full": "", "incremental": "[incremental]\n", "rebase = 0": "[incremental]\nrebase = 0\n"}
    return keeping(sandbox, incremental[request.param])


def keeping(sandbox: Sandbox, more: str) -> Sandbox:
    """Return a project that keeps rows for 50 hours, with more in its spec."""
    clock = "[domain]\ndata_as_of = { query = \"select max(loaded) from read_csv('data/loaded.csv')\" }\n"
    spec = WITHOUT_CHECKS.replace("[domain]\n", clock)
    sandbox.spec(spec + more + '[vanished]\npolicy = "keep"\nkeep_for = "50h"\n')
    (sandbox.root / "data").mkdir(exist_ok=True)
    return sandbox


def run(project: Sandbox, absent: set[int], hour: int, options: RunOptions = DEFAULTS) -> Report:
    """Publish a hundred customers but for some, with inputs of this hour."""
    present = [customer for customer in range(100) if customer not in absent]
    project.data(customers(100).take(present))
    loaded = BEGINNING + timedelta(hours=hour)
    (project.root / "data" / "loaded.csv").write_text(f"loaded\n{loaded:%Y-%m-%d %H:%M:%S}\n")
    return materialize.run(project.job(), options)


def kept(project: Sandbox) -> dict[int, int]:
    """Return the hour of the inputs of each kept row."""
    rows = project.rows(
        "select customer, extract(epoch from kept_data_as_of - '2026-01-01 00:00Z')::integer / 3600 as hour "
        "from predictions.churn where kept_data_as_of is not null order by customer"
    )
    return dict(rows)


def test_a_kept_row_has_the_age_of_its_own_inputs(project: Sandbox) -> None:
    run(project, set(), 0)
    before = project.rows("select score from predictions.churn where customer = 5")
    for absent, hour, expected in [
        ({5, 6}, 24, {5: 0, 6: 0}),
        # One is back, another one has gone, and the last keeps its time.
        ({5, 7}, 48, {5: 0, 7: 24}),
        # Its inputs are too old by now.
        ({5, 7}, 72, {7: 24}),
    ]:
        report = run(project, absent, hour)
        assert (report.rows, kept(project)) == (100 - len(absent - set(expected)), expected)
        verification = audit.verify(project.job())
        assert (verification.verified, verification.tolerance, verification.differences) == (True, 0, ())
        assert (verification.kept, verification.identical) == (len(expected), False)
        assert [row[0] for row in project.rows(DATA_AS_OF)] == sorted({hour, *expected.values()})
        if 5 in expected:
            old, new = (json.loads(project.cli("lookup", "churn", key, "--json").out) for key in ("5", "1"))
            assert (old["data_as_of"][:13], new["data_as_of"][:10]) == ("2026-01-01T00", f"2026-01-{1 + hour // 24:02}")
            assert round((old["age_seconds"] - new["age_seconds"]) / 3600) == hour
            assert project.rows("select score from predictions.churn where customer = 5") == before


def test_every_answer_has_the_age_of_a_kept_row(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    project = keeping(sandbox, "[incremental]\n[live]\nallowed = true\n[lookup]\nin_memory = true\n")
    hour = int((datetime.now(UTC) - BEGINNING) / timedelta(hours=1))
    run(project, set(), hour - 30)
    run(project, {5}, hour)
    old, new = (BEGINNING + timedelta(hours=at) for at in (hour - 30, hour))
    settings = ServerSettings(open_to_all=True, store=project.root / ".prescore" / "store")
    with serving(build(project.database, settings)) as http, Client(address(http)) as client:
        until_in_memory(http, "churn", 2)
        path = "/v1/predictions/churn"
        keys = [{"customer": customer} for customer in (4, 5, 4)]
        expected = [(new, False), (old, True), (new, False)]

        # JSON, and an answer of /score from the table.
        assert [aged(client.predict("churn", key)) for key in keys] == expected
        assert [aged(answer) for answer in client.lookup("churn", keys)] == expected
        (scored,) = client.score("churn", [{"key": keys[1]}])
        assert (scored.source, *aged(scored)) == ("table", old, True)

        # Arrow, CSV and JSON lines.
        times = client.lookup("churn", pd.DataFrame(keys))["data_as_of"].tolist()
        assert times == [new, old, new]
        single = http.get(f"{path}/5", headers={"Accept": arrow.MEDIA_TYPE.decode()})
        metadata = pa.ipc.open_stream(single.content).read_all().schema.metadata
        assert (datetime.fromisoformat(metadata[b"data_as_of"].decode()), metadata[b"stale"]) == (old, b"true")
        rows = {answer.key["customer"]: aged(answer) for answer in client.rows("churn")}
        assert (len(rows), rows[4], rows[5]) == (100, *expected[:2])
        csv = http.get(f"{path}/rows?output=score", headers={"Accept": "text/csv"}).text.splitlines()
        assert csv[0] == '"customer","score","data_as_of"'
        assert [datetime.fromisoformat(csv[1 + customer].split(",")[2]) for customer in (4, 5)] == [new, old]
        page = http.get(f"{path}/rows", headers={"Accept": arrow.MEDIA_TYPE.decode()}).content
        assert pa.ipc.open_stream(page).read_all()["data_as_of"].to_pylist()[4:6] == [new, old]

        # Tensors: the age is that of the oldest row.
        answer = inferred(http, [4, 5, 4])
        stale = next(output for output in answer["outputs"] if output["name"] == "stale")
        assert stale["data"] == [False, True, False]
        assert answer["parameters"]["data_as_of"] == inferred(http, [5])["parameters"]["data_as_of"] == old.isoformat()

        # The caller's limit is for the row, too.
        limit = 60 * 60 * 29
        assert client.predict("churn", 4, max_age=limit).found
        for call in (
            lambda: client.predict("churn", 5, max_age=limit),
            lambda: client.lookup("churn", keys, max_age=limit),
            lambda: list(client.rows("churn", max_age=limit)),
            lambda: client.score("churn", [{"key": keys[1]}], max_age=limit),
        ):
            with pytest.raises(TooOld, match="The row of customer=5 in churn version 2 is too old"):
                call()
        features = {"visits": 1.0, "spend": 2.0}
        answers = client.score("churn", [{"key": key, "features": features} for key in keys], max_age=limit)
        assert [answer.source for answer in answers] == ["table", "live", "table"]
        # A row that has only a key is rejected alone where others are scored.
        scored, rejected = client.score("churn", [{"features": features}, {"key": keys[1]}], max_age=limit)
        assert (scored.source, scored.rejected, *aged(rejected)) == ("live", None, old, True)
        assert rejected.rejected is not None
        assert "The row of customer=5 in churn version 2 is too old" in rejected.rejected.reason
        scorable = pa.Table.from_pylist([key | features for key in keys], customers(1).schema)
        for bound, sources in ((limit, ["table", "live", "table"]), (2 * limit, ["table"] * 3)):
            scores = client.score_table("churn", scorable, max_age=bound)
            assert scores["source"].to_pylist() == sources
            assert [at == own for at, own in zip(scores["data_as_of"].to_pylist(), times, strict=True)] == [
                source == "table" for source in sources
            ]
        with pytest.raises(TooOld):
            client.score_table("churn", scorable.select(["customer"]), max_age=limit)

        # Each key in the published version, or in a canary, which is read from Postgres.
        project.cli("run", "churn", "--no-publish")
        project.cli("canary", "churn", "3", "--share", "0.9")
        everyone = [{"customer": customer} for customer in range(100)]
        deadline = time.monotonic() + 20
        while (mixed := client.lookup("churn", everyone))[5].version != 3:
            assert time.monotonic() < deadline, "the server does not see the canary"
        assert {answer.version for answer in mixed} == {2, 3}
        assert aged(client.predict("churn", 5)) == (old, True)
        assert [answer.data_as_of for answer in mixed] == [old if key == 5 else new for key in range(100)]
        framed = client.lookup("churn", pd.DataFrame(everyone))
        assert framed["data_as_of"].tolist() == [answer.data_as_of for answer in mixed]

        # The model's limit is for the row, too, whichever request of a call has it.
        with project.database.connect() as connection:
            connection.execute("update prescore.versions set refuse_stale = true")
        monkeypatch.setattr(parts, "MAX_KEYS", 1)
        deadline = time.monotonic() + 20
        while not refuses(lambda: client.predict("churn", 5)):
            assert time.monotonic() < deadline, "the server does not see the change"
        assert refuses(lambda: client.lookup("churn", keys))
        assert refuses(lambda: client.score("churn", [{"key": key} for key in keys]))
        assert refuses(lambda: client.score_table("churn", scorable.select(["customer"])))
        cases: list[tuple[Options, list[str]]] = [({}, ["table", "live", "table"]), ({"version": 2}, ["table"] * 3)]
        for more, sources in cases:
            answers = client.score("churn", [{"key": key, "features": features} for key in keys], **more)
            assert [answer.source for answer in answers] == sources
            assert client.score_table("churn", scorable, **more)["source"].to_pylist() == sources


def refuses(call: Callable[[], Any]) -> bool:
    """Return whether a call is refused, because a kept row is too old."""
    try:
        call()
    except TooOld as error:
        return "The row of customer=5 in churn version" in error.message
    return False


def aged(answer: Answer | ScoreAnswer) -> tuple[datetime, bool]:
    """Return the time of an answer's inputs, which its age must fit, and whether it is stale."""
    age = (datetime.now(UTC) - answer.data_as_of).total_seconds()
    assert abs(age - answer.age_seconds) < 600
    return answer.data_as_of, answer.stale


def inferred(http: httpx.Client, customers: list[int]) -> Any:
    """Return the answer to keys through the Open Inference Protocol."""
    tensor = {"name": "customer", "datatype": "INT64", "shape": [len(customers)], "data": customers}
    return http.post("/v2/models/churn/infer", json={"inputs": [tensor]}).json()


def test_a_kept_row_expires_in_a_version_of_its_own(sandbox: Sandbox) -> None:
    project = keeping(sandbox, "[incremental]\n")
    spec = (project.root / "specs" / "churn.toml").read_text()
    run(project, set(), 0)
    run(project, {5}, 24)
    # The first night is found unchanged by its snapshot, the next by the value of a query alone.
    unchanged_if = spec.replace("[domain]\n", '[domain]\nunchanged_if = "select 1"\n')
    for hour, expected, changed in [(49, 2, None), (50, 3, unchanged_if), (51, None, unchanged_if), (75, 5, spec)]:
        if changed is not None:
            project.spec(changed)
        report = run(project, {5}, hour)
        assert (report.changes or {}).get("unchanged_since") == expected
        assert kept(project) == ({} if hour > 50 else {5: 0})


def test_keep_begins_with_the_rows_of_the_served_version(sandbox: Sandbox) -> None:
    project = keeping(sandbox, "[incremental]\n")
    keep = (project.root / "specs" / "churn.toml").read_text()
    drop = keep[: keep.index("[vanished]")]
    project.spec(drop)
    run(project, set(), 0)
    project.spec(keep)
    run(project, {5}, 24)
    assert kept(project) == {5: 0}
    project.spec(keep.replace("[onnx]\n", '[passthrough]\nspend = "real"\n[onnx]\n'))
    run(project, {5, 6}, 25)
    assert kept(project) == {5: 0, 6: 24}
    assert project.rows("select customer from predictions.churn where spend is null order by 1") == [(5,), (6,)]
    project.spec(drop)
    done = project.cli("run", "churn")
    assert (done.code, "kept_data_as_of is removed, because `[vanished]`" in done.err) == (2, True)
    # No row has a value of an output that is new.
    project.spec(keep.replace("[outputs]\n", '[outputs]\nchance = { from = "score", type = "real" }\n'))
    done = project.cli("run", "churn", "--allow-breaking")
    assert done.code == 0, done.err
    # The two rows are lost if it is published.
    assert kept(project) == {5: 0, 6: 24}
    assert (
        "kept rows: 0; expected 2 rows of version 3 whose keys have vanished, but version 3 does not have" in done.out
    )
    warning = "warning: churn: No row whose key has vanished was kept: version 3 does not have the output chance.\n"
    assert warning in done.err


def test_a_kept_row_counts_as_vanished_once(project: Sandbox) -> None:
    project.spec((project.root / "specs" / "churn.toml").read_text() + "[comparison]\nvanished.refuse = 0.03\n")
    run(project, set(), 0)
    for absent, hour, share in [
        ({1, 2}, 0, 0.02),
        # One comes back. The clock has not moved since.
        ({2, 3}, 0, 0.01),
        # It vanishes again.
        ({1, 2, 3}, 24, 0.01),
    ]:
        checks = {check["name"]: check["observed"] for check in run(project, absent, hour).checks}
        assert checks["vanished keys"] == share
    with pytest.raises(Exception, match="vanished keys"):
        run(project, {1, 2, 3, 4, 5, 6, 7}, 24)
    assert kept(project) == {1: 0, 2: 0, 3: 0}
    # A plan scores the rows of a snapshot again, and these are in none.
    planned = json.loads(project.cli("plan", "churn", "--backtest", "1", "--json").out)
    counts = [night["comparison"]["keys"] for night in planned["nights"]]
    assert [(keys["vanished"], keys["common"], keys["changed"]) for keys in counts] == [(0, 97, 0), (0, 98, 0)]
    assert "  kept     7 rows whose keys have vanished\n" in project.cli("run", "churn", "--full").out
    done = project.cli("plan", "churn", "--markdown")
    assert (done.code, "0 of 97 rows would change; 0 would be rejected." in done.out) == (0, True)


def test_a_base_that_keeps_rows_never_shows_them_in_place_of_newer_ones(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = keeping(sandbox, "[incremental]\n")
    project.edit("[domain]", "max_rejects = 9\n[domain]")
    run(project, set(), 0)
    run(project, {1, 2, 3}, 10)
    # A full version, which keeps the three.
    run(project, {1, 2, 3}, 11, RunOptions(full=True))
    assert kept(project) == {1: 0, 2: 0, 3: 0}
    run(project, {2, 3}, 20)
    run(project, {1, 2, 3}, 30)
    # The first came back meanwhile, so that its last inputs are newer than those that the base keeps.
    assert kept(project) == {1: 20, 2: 0, 3: 0}
    rows = customers(100).to_pandas().astype({"spend": object})
    rows.loc[rows["customer"] == 2, "spend"] = None
    for absent in ({1, 3}, {1, 2, 3}):
        project.data(pa.Table.from_pandas(rows[~rows["customer"].isin(absent)], customers(100).schema))
        materialize.run(project.job())
        # It was rejected, and has not vanished.
        assert kept(project) == {1: 20, 3: 0}
    run(project, {1, 2, 3}, 60)
    assert kept(project) == {1: 20}
    # The served delta is changed by hand while the next one is made, which hides what the base keeps.
    with monkeypatch.context() as patched:
        patched.setattr(materialize, "reuse_rows", interrupted(materialize.reuse_rows))
        with pytest.raises(Busy):
            run(project, {1, 2, 3, 4}, 60)
    ((served,),) = project.rows("select rows_table from prescore.versions where state = 'published'")
    project.rows(f'insert into prescore_versions."{served}" (customer, score) values (500, 0.5) returning customer')
    report = run(project, {1, 2, 3, 4}, 60)
    project.cli("publish", "churn", str(report.version))
    assert (report.resumed, report.rows, kept(project)) == (True, 96, {})
    # A full version has never updated the rows that it keeps. A delta over it that is not finished shows these rows.
    with monkeypatch.context() as patched:
        patched.setattr(materialize, "reuse_rows", interrupted(materialize.reuse_rows))
        with pytest.raises(Busy):
            run(project, {1, 2, 3}, 61)
    with project.database.connect() as connection:
        connection.execute("update prescore_versions.churn_v3 set score = 0 where customer = 50")
        connection.execute("select pg_stat_force_next_flush()")
    with pytest.raises(
        NotAllowed, match="cannot be resumed: it shows rows of version 3, whose table was changed by hand"
    ):
        run(project, {1, 2, 3}, 61)
    report = run(project, {1, 2, 3}, 61)
    assert (report.resumed, "changed by hand" in (report.changes or {})["reason"]) == (False, True)


@pytest.mark.parametrize(
    "statement",
    [
        'insert into prescore_versions."churn_v2_DELTA" (customer, score) values (500, 0.5)',
        'update prescore_versions."churn_v2_DELTA" set score = 0.5 where customer = 5',
    ],
)
def test_no_row_is_kept_of_tables_that_were_changed_by_hand(
    sandbox: Sandbox, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    project = keeping(sandbox, "[incremental]\n[comparison]\nvanished.warn = 0.015\n")
    run(project, set(), 0)
    run(project, {5}, 1)
    with project.database.connect() as connection:
        connection.execute(statement.encode())
        connection.execute("select pg_stat_force_next_flush()")
    assert "up to 1 row of its tables were inserted, updated or deleted by hand" in project.cli("doctor").out
    report = run(project, {5, 6}, 2)
    assert "keeps no row whose key has vanished: a table of version 2 was changed by hand" in caplog.text
    assert report.warnings[-1].startswith("No row whose key has vanished was kept: a table of version 2 was changed")
    # It is unknown how many keys have vanished, or too many have.
    assert (report.published, withheld.warnings(report.checks) != []) == (False, True)
    project.cli("publish", "churn", "3")
    assert project.rows("select customer from predictions.churn where customer in (5, 6, 500)") == []
    run(project, {5, 6, 7}, 3)
    assert kept(project) == {7: 2}


def test_kept_rows_are_never_called_proven(sandbox: Sandbox) -> None:
    project = keeping(sandbox, "")
    run(project, set(), 0)
    run(project, {5, 6}, 1)
    done = project.cli("verify", "churn")
    assert done.code == 0, done.err
    assert done.out == (
        "churn version 2 is proven but for its kept rows: 98 rows equal what its snapshot and its model file give, bit "
        "by bit; 2 kept rows from earlier versions cannot be proven by its snapshot\n"
    )
    for statement, reason in [
        (
            "update {} set kept_data_as_of = now() where customer = 5",
            "its 2 kept rows may not be what earlier versions predicted",
        ),
        ("delete from {} where customer = 5", "the table has 1 kept row, and the version was made with 2"),
    ]:
        with project.database.connect() as connection:
            connection.execute(statement.format("prescore_versions.churn_v2").encode())
            connection.execute("select pg_stat_force_next_flush()")
        done = project.cli("verify", "churn", "--json")
        verification = json.loads(done.out)
        assert (done.code, verification["verified"], verification["identical"]) == (4, False, False)
        (difference,) = verification["differences"]
        assert (verification["rows"], verification["kept"], difference.endswith(reason)) == (100, 2, True)
        assert f"churn version 2 is not proven:\n  {difference}\n" in done.err
    advice = "`prescore verify churn` shows what differs, but not in its 2 kept rows. `prescore run churn --full` makes"
    assert advice in project.cli("doctor").out
    assert project.cli("run", "churn", "--full").code == 0
    assert project.cli("publish", "churn", "3").code == 0
    assert (kept(project), project.cli("verify", "churn").code) == ({}, 0)


def test_an_update_by_hand_is_distinguished_from_those_that_keep_rows(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = keeping(sandbox, "[incremental]\n")
    run(project, {7}, 0)
    # The server's statistics count the updates of the transaction that is rolled back, too.
    with monkeypatch.context() as patched:
        patched.setattr(kept_rows, "keep", interrupted(kept_rows.keep))
        with pytest.raises(Busy):
            run(project, {5, 6}, 1)
    assert run(project, {5, 6}, 1).resumed
    run(project, {5, 6, 7}, 2)
    assert kept(project) == {5: 0, 6: 0, 7: 1}
    # The last of these was copied, so that there were fewer updates than kept rows.
    with project.database.connect() as connection:
        connection.execute('update prescore_versions."churn_v3_DELTA" set score = 0.5 where customer = 7')
        connection.execute("select pg_stat_force_next_flush()")
    assert "up to 1 row of its tables" in project.cli("doctor").out
    report = run(project, {5, 6, 7}, 3)
    assert "changed by hand" in (report.changes or {})["reason"]
    # No limit is set, but this version lacks rows that are served.
    (warning,) = withheld.warnings(report.checks)
    assert (report.published, warning["name"]) == (False, "kept rows")
    assert warning["expected"].startswith("3 rows of version 3 whose keys have vanished, but a table of version 3 was")
    assert kept(project) == {5: 0, 6: 0, 7: 1}
    # The rows of an earlier version, which was not changed, are kept.
    assert project.cli("publish", "churn", "2", "--allow-older").code == 0
    assert run(project, {5, 6, 7}, 4).published
    assert kept(project) == {5: 0, 6: 0, 7: 1}


def test_a_backfill_keeps_no_row_from_its_future(sandbox: Sandbox) -> None:
    project = keeping(sandbox, "[incremental]\n")
    project.edit("[domain]\n", "[domain]\nunchanged_if = \"select $as_of > timestamptz '2026-01-01 00:00Z'\"\n")
    project.query("select * from read_parquet('data/customers.parquet') where $as_of is not null")
    time = [RunOptions(as_of=BEGINNING + timedelta(hours=hour)) for hour in range(12)]
    run(project, set(), 0, time[0])
    run(project, {1, 2}, 10, time[10])
    # The domain is that of the served version, which keeps two rows.
    report = run(project, {1, 2}, 5, time[5])
    assert (report.backfill, report.rows) == (True, 98)
    run(project, {1, 2}, 11, replace(time[11], full=True))
    assert kept(project) == {1: 0, 2: 0}
    # The base keeps them as well.
    report = run(project, {1, 2, 3}, 6, time[6])
    assert (report.backfill, report.rows, (report.changes or {})["base"]) == (True, 97, 4)
    for version in (3, 5):
        shown = project.rows(f"select customer from prescore_versions.churn_v{version} where customer in (1, 2)")
        assert shown == []


def test_a_tombstone_names_the_last_version_with_the_key(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.spec(WITHOUT_CHECKS + '[vanished]\npolicy = "tombstone"\n')
    (sandbox.root / "data").mkdir(exist_ok=True)
    sandbox.data(customers(10))
    materialize.run(sandbox.job())
    sandbox.query("select * from read_parquet('data/customers.parquet') where customer <> 5")
    materialize.run(sandbox.job())
    sandbox.query("select * from read_parquet('data/customers.parquet') where customer < 5")
    # The key is the same one, with a comment.
    sandbox.edit("[vanished]", '[comments]\ncustomer = "an account"\n[vanished]')
    materialize.run(sandbox.job())
    answer = json.loads(sandbox.cli("lookup", "churn", "5", "--json").out)
    assert (answer["found"], answer["version"], answer["last_version"]) == (False, 3, 1)
    assert "last seen in version 2, with data as of" in sandbox.cli("lookup", "churn", "6").out
    assert json.loads(sandbox.cli("lookup", "churn", "99", "--json").out)["last_version"] is None
    answer = client.get("/v1/predictions/churn/5").json()
    assert (answer["found"], answer["version"], answer["last_version"]) == (False, 3, 1)
    assert answer["last_data_as_of"] < answer["data_as_of"]
    assert "last_version" not in client.get("/v1/predictions/churn/99").json()
    assert "last_version" not in client.get("/v1/predictions/churn/1").json()
    looked_up = (1, 5, 99, 6, 5)
    with Client(address(client)) as python_client:
        answers = python_client.lookup("churn", [{"customer": customer} for customer in looked_up])
        singles = [python_client.predict("churn", customer) for customer in looked_up]
    assert [answer.last_version for answer in answers] == [None, 1, None, 2, 1]
    assert [replace(answer, age_seconds=0) for answer in answers] == [replace(one, age_seconds=0) for one in singles]
