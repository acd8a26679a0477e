"""What a spec may say, and what is said of one that does not hold together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prescore.errors import SpecInvalid
from prescore.project import spec

GOOD = """
[domain]
query = "q.sql"
[key]
id = "bigint"
[onnx]
file = "m.onnx"
[onnx.inputs]
x = ["a", "b"]
[outputs]
y = { from = "y", type = "real" }
"""


def _load(tmp_path: Path, text: str, name: str = "good") -> spec.Spec:
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    return spec.load(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('id = "bigint"', 'id = "int"', "key.id: must be 'smallint', 'integer', 'bigint'"),
        ('id = "bigint"', 'version = "bigint"', "key.version: version is a column of prescore's own"),
        ('id = "bigint"', "", "key: Dictionary should have at least 1 item"),
        ('x = ["a", "b"]', "x = 3", 'onnx.inputs.x: write one column, "distance", or a list of them'),
        ('x = ["a", "b"]', "x = []", "onnx.inputs.x: write one column"),
        (
            'file = "m.onnx"',
            'file = "m.onnx"\nnullable = ["c"]',
            "onnx.nullable: c is not a feature; features are a, b",
        ),
        ('file = "m.onnx"', "", "onnx.file: is missing"),
        ("[outputs]", '[passthrough]\ny = "real"\n[outputs]', "y is both under [outputs] and under [passthrough]"),
        ("[outputs]", '[schedule]\ncron = "daily"\n[outputs]', 'cron has five fields, such as "0 5 * * *"'),
        (
            "[outputs]",
            '[schedule]\ncron = "0 5 * * *"\ntimezone = "Mars"\n[outputs]',
            "schedule.timezone: no such time zone",
        ),
        ("[outputs]", '[freshness]\nmax_age = "1 day"\n[outputs]', "freshness.max_age: write a number and a unit"),
        ("[outputs]", '[domain.data_as_of]\ncolumn = "t"\nquery = "q"\n[outputs]', "give either column or query"),
        ("[domain]", "[domian]", "domian: no such key here; did you mean domain?"),
        ('type = "real"', 'typ = "real"', "outputs.y.typ: no such key here; did you mean type?"),
        ("[outputs]", '[comments]\nz = "?"\n[outputs]', "comments.z: no such column"),
        ("[outputs]", '[freshness]\nmax_age = "9999999999d"\n[outputs]', 'freshness.max_age: write at most "36500d"'),
        ("[outputs]", '[retention]\ngrace = "99999999d"\n[outputs]', 'retention.grace: write at most "36500d"'),
        ("[outputs]", f'[retention]\ngrace = "{"9" * 5000}s"\n[outputs]', "retention.grace: write a number and a unit"),
        ('id = "bigint"', 'ctid = "bigint"', "key.ctid: ctid is a system column of every Postgres table"),
        ("[domain]", 'indexes = ["id"]\n[domain]', "indexes: write a list of lists"),
        ("[domain]", 'description = "\\u0000"\n[domain]', "description: holds a NUL character"),
        ("[outputs]", '[comments]\nid = "a\\u0000b"\n[outputs]', "comments.id: holds a NUL character"),
        ("[outputs]", '[[checks]]\nexpect = "a"\nname = "\\u0000"\n[outputs]', "checks.0.name: holds a NUL character"),
        (
            "[outputs]",
            '[[checks]]\nexpect = "a"\nset = ["\\u0000"]\n[outputs]',
            "checks.0.set.0: holds a NUL character",
        ),
        (
            "[outputs]",
            '[[checks]]\nexpect = "expect_column_mean_to_be_between"\n[outputs]',
            "checks.0.expect: leave out the leading expect_: column_mean_to_be_between",
        ),
    ],
)
def test_a_fault_is_told_by_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert _load(tmp_path, GOOD)
    assert old in GOOD
    with pytest.raises(SpecInvalid) as refused:
        _load(tmp_path, GOOD.replace(old, new))
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["Churn", "churn-rate", "2nd", "churn_v2", "freshness", "a" * 49])
def test_a_name_that_postgres_would_not_keep_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalid, match="model"):
        _load(tmp_path, GOOD, name)


def test_a_duration_may_be_a_hundred_years(tmp_path: Path) -> None:
    for longest in ("36500d", "876000h"):
        kept = _load(tmp_path, GOOD + f'[retention]\ngrace = "{longest}"\n').retention
        assert kept.grace.days == 36500


def test_schedules_and_promises_do_not_make_another_table(tmp_path: Path) -> None:
    first = _load(tmp_path, GOOD)
    second = _load(tmp_path, GOOD + '[freshness]\nmax_age = "1h"\n[schedule]\ncron = "0 5 * * *"\n')
    third = _load(tmp_path, GOOD.replace('type = "real"', 'type = "double precision"'))
    told = _load(tmp_path, GOOD.replace('type = "real"', 'type = "real", comment = "from 0 to 1"'))
    assert first.fingerprint == second.fingerprint == told.fingerprint != third.fingerprint


def test_the_committed_json_schema_is_this_releases() -> None:
    committed = json.loads((Path(__file__).parents[1] / "specs/spec.schema.json").read_text())
    assert committed == spec.json_schema(), "bring it up to date: prescore schema > specs/spec.schema.json"


def test_the_json_schema_knows_every_key_of_the_example() -> None:
    schema = spec.json_schema()
    example = tomllib.loads((Path(__file__).parents[1] / "specs/flight_delay.toml").read_text())
    assert set(example) <= set(schema["properties"])
    assert "model" not in schema["required"]


def test_a_fingerprint_is_the_same_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    path.write_text(
        GOOD.replace('file = "m.onnx"', 'file = "m.onnx"\nnullable = ["a", "b"]\nallow_precision_loss = ["b", "a"]')
    )
    code = "import pathlib, sys; from prescore.project import spec; path = pathlib.Path(sys.argv[1])"
    code += "; print(spec.load(path).fingerprint)"
    command = [sys.executable, "-c", code, str(path)]
    seeds = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in range(4)]
    said = {subprocess.check_output(command, env=environment) for environment in seeds}
    assert len(said) == 1
