"""The command line: what it prints, and that the users' own text stays as it is."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from xml.etree import ElementTree

import pytest

from fix_project import Sandbox, linear
from prescore.cli import display
from prescore.versions import lease

MARKUP = "[/x] [bold]loud[/bold] [red"
STATUS_KEYS = [
    "model",
    "version",
    "data_as_of",
    "published_at",
    "age_seconds",
    "max_age_seconds",
    "stale",
    "held",
    "hold_reason",
    "canary_version",
    "canary_share",
    "waiting_version",
    "awaits",
    "newest_version",
    "newest_state",
    "newest_started_at",
    "newest_withdrawn",
    "newest_trial_rows",
    "table_fault",
]


def test_brackets_in_a_checks_name_are_not_markup(sandbox: Sandbox) -> None:
    sandbox.edit("scores are probabilities", MARKUP)
    done = sandbox.cli("run", "churn")
    assert (done.code, f"passed  {MARKUP}: 0 unexpected values" in done.out) == (0, True), done.err


def test_brackets_in_a_reason_are_not_markup(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", MARKUP)
    held = sandbox.cli("run", "churn")
    assert (held.code, f"not published: churn is on hold ({MARKUP})" in held.out) == (0, True), held.err
    assert MARKUP in sandbox.cli("history", "churn").out
    assert json.loads(sandbox.cli("status", "--json").out)[0]["hold_reason"] == MARKUP


def test_brackets_in_a_key_and_its_prediction_are_not_markup(sandbox: Sandbox) -> None:
    sandbox.edit('customer = "bigint"', 'customer = "text"')
    sandbox.edit("[onnx]\n", '[passthrough]\nnote = "text"\n[onnx]\n')
    sandbox.query(
        "select case when customer = 0 then '[/x]' else customer::varchar end as customer, visits, spend,"
        f" '{MARKUP}' as note from read_parquet('data/customers.parquet')"
    )
    sandbox.cli("run", "churn")
    found = sandbox.cli("lookup", "churn", "[/x]")
    assert (found.code, f"note   {MARKUP}\n" in found.out, "customer=[/x]; version 1" in found.out) == (0, True, True)
    missing = sandbox.cli("lookup", "churn", "[/y]")
    assert (missing.code, missing.out) == (2, "churn version 1 has no customer=[/y]\n")


def test_brackets_in_the_name_of_an_api_key_are_not_markup(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.cli("keys", "create", "[/x] shop")
    assert "[/x] shop" in sandbox.cli("keys", "list").out


def test_status_has_the_max_age_beside_the_age(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    heading, line = sandbox.cli("status").out.splitlines()
    assert heading.split() == ["model", "version", "age", "max", "age", "stale", "held", "last", "run"]
    assert line.split()[-7:] == ["26", "h", "no", "no", "version", "1", "published"]
    (model,) = json.loads(sandbox.cli("status", "--json").out)
    assert list(model) == STATUS_KEYS
    assert model["max_age_seconds"] == 26 * 3600


def test_json_of_versions_and_history_are_the_catalogs_rows(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    (version,) = json.loads(sandbox.cli("versions", "churn", "--json").out)
    (columns,) = sandbox.rows("select to_jsonb(v) from prescore.versions v")
    assert set(version) == {*columns[0], "awaits"}
    events = json.loads(sandbox.cli("history", "churn", "--json").out)
    assert [event["event"] for event in events] == ["published", "checked"]
    assert set(events[0]) == {"at", "model", "version", "event", "actor", "reason", "detail"}


def test_json_of_a_comparison_and_a_lookup_keep_their_keys(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    comparison = json.loads(sandbox.cli("compare", "churn", "1", "1", "--json").out)
    (column,) = comparison.pop("columns")
    versions = sandbox.rows("select model_fingerprint from prescore.versions")
    assert [(comparison.pop(f"{side}_model_fingerprint"),) for side in "ab"] == versions * 2
    assert datetime.fromisoformat(comparison.pop("a_data_as_of")) == datetime.fromisoformat(
        comparison.pop("b_data_as_of")
    )
    assert comparison == {
        "model": "churn",
        "a": 1,
        "b": 1,
        "a_state": "published",
        "b_state": "published",
        "keys": {"added": 0, "vanished": 0, "common": 1000, "changed": 0},
        "not_compared": {},
        "parameters": [],
    }
    assert list(column) == ["column", "type", "changed", "shift", "elements", "labels"]
    assert (column["shift"]["psi"], column["shift"]["ks"], column["shift"]["moved"]) == (0, 0, 0)
    found = json.loads(sandbox.cli("lookup", "churn", "7", "--json").out)
    assert list(found) == [
        "model",
        "version",
        "key",
        "found",
        "prediction",
        "data_as_of",
        "published_at",
        "age_seconds",
        "stale",
        "last_version",
        "last_data_as_of",
    ]
    assert found["key"] == {"customer": 7}


def test_a_model_without_a_published_version_has_a_status(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn", "--no-publish")
    assert "version 1 checked" in sandbox.cli("status").out
    (model,) = json.loads(sandbox.cli("status", "--json").out)
    assert (model["version"], model["stale"], model["newest_state"]) == (None, None, "checked")


def test_status_and_versions_mark_trials_and_withdrawn_versions(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.cli("run", "churn", "--full")
    sandbox.cli("rollback", "churn")
    assert "superseded, withdrawn" in sandbox.cli("versions", "churn").out
    assert "version 2 superseded, withdrawn" in sandbox.cli("status").out
    sandbox.cli("run", "churn", "--trial", "10")
    assert "checked, trial" in sandbox.cli("versions", "churn").out
    assert "version 3 checked, trial" in sandbox.cli("status").out
    assert "Version 3 (checked, trial)" in sandbox.cli("retire", "churn", "--dry-run").out


def test_tables_and_messages_show_times_in_utc(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    published = "2026-01-31 05:00:00 UTC"
    with sandbox.database.connect() as connection:
        connection.execute("update prescore.versions set published_at = '2026-01-31 05:00Z', data_as_of = published_at")
        connection.execute("update prescore.events set at = '2026-01-31 05:00Z'")
        lease.acquire(connection, "churn", watched=False)
    sandbox.cli("keys", "create", "shop", "--expires", "1d")
    sandbox.monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with sandbox.monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "America/New_York")
        time.tzset()
        shown = [sandbox.cli(*command).out for command in (("versions", "churn"), ("history", "churn"))]
        assert [published in text for text in shown] == [True, True], shown
        assert len(re.findall(r"\d\d:\d\d:\d\d UTC", sandbox.cli("keys", "list").out)) == 2
        busy = sandbox.cli("run", "churn")
        assert re.search(r"lease until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", busy.err), busy.err
        hold = sandbox.cli("hold", "churn", "--reason", "no reason")
        assert hold.code == 0, hold.err
        with sandbox.database.connect() as other:
            other.execute("update prescore.models set held_at = '2026-01-31 05:00Z'")
        refused = sandbox.cli("publish", "churn", "1")
        assert f"on hold since {published}" in refused.err, refused.err
    time.tzset()


def test_several_models_run_one_after_the_other_whatever_becomes_of_each(sandbox: Sandbox) -> None:
    text = (sandbox.root / "specs/churn.toml").read_text()
    sandbox.spec(text.replace('file = "models/churn.onnx"', 'file = "models/none.onnx"'), name="broken")
    sandbox.spec(text.replace("max_value = 1", "max_value = 0"), name="strict")
    done = sandbox.cli("run", "--all")
    assert done.code == 4
    assert done.out.splitlines()[-1] == "3 models: 1 failed, 1 published, 1 refused"
    assert "prescore: broken: " in done.err
    assert "prescore: strict: strict version 1 was refused by 1 of 5 checks" in done.err
    assert sandbox.rows("select version from predictions.churn limit 1") == [(1,)]

    again = sandbox.cli("run", "churn", "broken", "--json", "--no-publish")
    assert again.code == 2
    report, failure = json.loads(again.out)
    assert (report["model"], report["version"], report["state"]) == ("churn", 2, "checked")
    assert (failure["model"], failure["error"]["code"]) == ("broken", "model_invalid")
    for arguments in ((), ("churn", "--all"), ("churn", "churn")):
        assert sandbox.cli("run", *arguments).code == 2


def test_a_negative_number_is_a_key_and_a_misspelt_option_is_not(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    absent = sandbox.cli("lookup", "churn", "-5")
    assert (absent.code, absent.out) == (2, "churn version 1 has no customer=-5\n"), absent.err
    assert sandbox.cli("lookup", "churn", "--", "-5").out == absent.out
    assert json.loads(sandbox.cli("lookup", "churn", "-5", "--json").out)["found"] is False
    assert "No such option: --jsn" in sandbox.cli("lookup", "churn", "7", "--jsn").err


def test_a_table_without_rows_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display.table([])
    assert capsys.readouterr().out == ""


def test_the_history_of_a_model_without_events_says_so(sandbox: Sandbox) -> None:
    sandbox.interrupted("score_chunks")
    assert sandbox.cli("history", "churn").out.startswith("The history of churn is empty: ")


def test_a_table_that_a_program_reads_has_a_line_for_each_row(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    reason = "a reason of which a terminal with eighty columns has to break the line"
    sandbox.cli("hold", "churn", "--reason", reason)
    heading, newest, *earlier = sandbox.cli("history", "churn").out.splitlines()
    assert (heading.split(), reason in newest, len(earlier)) == (["at", "event", "version", "by", "why"], True, 2)


def test_every_spec_is_validated_whatever_the_others_are(sandbox: Sandbox) -> None:
    text = (sandbox.root / "specs/churn.toml").read_text()
    sandbox.spec(text.replace('file = "models/churn.onnx"', 'file = "models/none.onnx"'), name="a")
    sandbox.spec(text, name="z")
    done = sandbox.cli("validate")
    assert done.code == 2
    assert "prescore: a: " in done.err
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["churn", "z"]
    outcomes = json.loads(sandbox.cli("validate", "--json").out)
    assert [outcome["model"] for outcome in outcomes] == ["a", "churn", "z"]
    assert outcomes[0]["error"]["code"] == "model_invalid"
    assert outcomes[2]["rows"] == 1000


def test_a_comparison_is_also_a_page_that_needs_no_network(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx]\n", '[passthrough]\nplan = "text"\n[onnx]\n')
    sandbox.query("select *, case when spend > 1 then '<b>gold' else 'x & y' end as plan "
                  "from read_parquet('data/customers.parquet')")  # fmt: skip
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], 0.1))
    sandbox.query("select *, case when spend > 2 then '<b>gold' else 'x & y' end as plan "
                  "from read_parquet('data/customers.parquet')")  # fmt: skip
    sandbox.cli("run", "churn")
    page = sandbox.root / "page.html"
    assert sandbox.cli("compare", "churn", "1", "2", "--html", str(page)).code == 0
    text = page.read_text()
    root = ElementTree.fromstring(text.removeprefix("<!doctype html>\n").replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width, initial-scale=1">', ""))  # fmt: skip
    assert [heading.text for heading in root.iter("h2")] == ["score", "plan"]
    assert len(list(root.iter("rect"))) == 10
    cells = [cell.text for cell in root.iter("td")]
    assert {"<b>gold", "x & y"} <= set(cells)
    described = sandbox.rows(
        "select version::text, state, to_char(data_as_of at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'), "
        "left(model_fingerprint, 12) from prescore.versions order by version"
    )
    assert [tuple(cells[:4]), tuple(cells[4:8])] == described
    assert "http" not in text
    assert root.findtext("head/title") == "churn: from version 1 (superseded) to version 2 (published)"


def test_a_comparison_chooses_the_newest_version_and_the_published_one(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    alone = sandbox.cli("compare", "churn")
    assert (alone.code, "churn has no two versions to compare" in alone.err) == (2, True)
    sandbox.cli("run", "churn", "--full")
    sandbox.cli("run", "churn", "--trial", "10")
    assert _compared(sandbox) == (1, 2)
    sandbox.cli("run", "churn", "--full", "--no-publish")
    assert _compared(sandbox) == (2, 4)
    assert (_compared(sandbox, "1"), _compared(sandbox, "2")) == ((1, 2), (1, 2))
    assert sandbox.cli("compare", "churn").out.startswith("churn: from version 2 (published) to version 4 (checked)\n")


def _compared(sandbox: Sandbox, *versions: str) -> tuple[int, int]:
    found = json.loads(sandbox.cli("compare", "churn", *versions, "--json").out)
    return found["a"], found["b"]
