"""Specs: the keys and values that are valid, and the messages for all others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prescore.errors import SpecInvalid
from prescore.project import spec_file
from prescore.project.spec import Spec

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


def _load(tmp_path: Path, text: str, name: str = "good") -> Spec:
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    return spec_file.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "bigint"', 'id = "int"', "key.id: must be 'smallint', 'integer', 'bigint'"),
        ('id = "bigint"', 'version = "bigint"', "key.version: version is a column of prescore's own"),
        ('id = "bigint"', "", "key: must have at least one entry"),
        ('x = ["a", "b"]', "x = 3", 'onnx.inputs.x: must be a column, such as "distance", or a list of columns'),
        ('x = ["a", "b"]', "x = []", "onnx.inputs.x: must be a column"),
        ('x = ["a", "b"]', 'x = ["a", "a"]', "onnx.inputs.x: lists a more than once"),
        (
            'file = "m.onnx"',
            'file = "m.onnx"\nnullable = ["c"]',
            "onnx.nullable: c is not a feature; the features are a, b",
        ),
        ('file = "m.onnx"', "", "onnx.file: is missing"),
        (
            "[outputs]",
            '[passthrough]\ny = "real"\n[outputs]',
            "passthrough.y: [outputs] has a column y too; remove one of the two, or rename it",
        ),
        (
            "[outputs]",
            '[schedule]\ncron = "daily"\n[outputs]',
            'schedule: cron must have five fields, such as "0 5 * * *"',
        ),
        (
            "[outputs]",
            '[schedule]\ncron = "0 5 * * *"\ntimezone = "Mars"\n[outputs]',
            "schedule.timezone: must be a time zone, such as",
        ),
        ("[outputs]", '[freshness]\nmax_age = "1 day"\n[outputs]', "freshness.max_age: must be a number and a unit"),
        (
            "[outputs]",
            '[domain.data_as_of]\ncolumn = "t"\nquery = "q"\n[outputs]',
            "domain.data_as_of: must have either column or query",
        ),
        ("[domain]", "[domian]", "domian: unknown key; did you mean domain?"),
        ('type = "real"', 'typ = "real"', "outputs.y.typ: unknown key; did you mean type?"),
        ("[outputs]", '[comments]\nz = "?"\n[outputs]', "comments.z: the table has no column z"),
        ("[outputs]", '[freshness]\nmax_age = "9999999999d"\n[outputs]', 'freshness.max_age: must be at most "36500d"'),
        ("[outputs]", '[retention]\ngrace = "99999999d"\n[outputs]', 'retention.grace: must be at most "36500d"'),
        (
            "[outputs]",
            f'[retention]\ngrace = "{"9" * 5000}s"\n[outputs]',
            "retention.grace: must be a number and a unit",
        ),
        ('id = "bigint"', 'ctid = "bigint"', "key.ctid: ctid is a system column of every Postgres table"),
        ("[domain]", 'indexes = ["id"]\n[domain]', "indexes: must be a list of lists"),
        ("[domain]", 'description = "\\u0000"\n[domain]', "description: contains a NUL character"),
        ("[outputs]", '[comments]\nid = "a\\u0000b"\n[outputs]', "comments.id: contains a NUL character"),
        (
            "[outputs]",
            '[[checks]]\nexpect = "a"\nname = "\\u0000"\n[outputs]',
            "checks.0.name: contains a NUL character",
        ),
        (
            "[outputs]",
            '[[checks]]\nexpect = "a"\nset = ["\\u0000"]\n[outputs]',
            "checks.0.set.0: contains a NUL character",
        ),
        (
            "[outputs]",
            '[[checks]]\nexpect = "expect_column_mean_to_be_between"\n[outputs]',
            "checks.0.expect: must be in snake case, without expect_; write column_mean_to_be_between",
        ),
        (
            "[outputs]",
            "[retention]\nmax_rejects = 3\n[outputs]",
            "retention.max_rejects: unknown key; max_rejects belongs at the top of the file, before the first ",
        ),
        ('id = "bigint"', 'id = "bigint"\nmax_rejects = 3', "key.max_rejects: must be 'smallint'"),
        ('id = "bigint"', 'id = "bigint"\nmax_rejects = 3', "if the key max_rejects is meant: max_rejects belongs at"),
        (
            "[outputs]",
            '[retention]\nmax_age = "1h"\n[outputs]',
            "retention.max_age: unknown key; max_age belongs in [freshness]",
        ),
        ("[domain]", "versions = 3\n[domain]", "versions: unknown key; versions belongs in [retention]"),
        (
            "[outputs]",
            "[retention]\nlookup = {}\n[outputs]",
            "retention.lookup: unknown key; lookup is a section of its own, [lookup]",
        ),
        (
            "[outputs]",
            "[retention]\nzebra = 3\n[outputs]",
            "retention.zebra: unknown key; the keys here are versions, grace, candidates, backfills",
        ),
        ("[outputs]", '[retention]\nversions = "5"\n[outputs]', "retention.versions: must be a whole number"),
        ("[outputs]", "[retention]\nversions = true\n[outputs]", "retention.versions: must be a whole number"),
        ('type = "real"', 'index = "1", type = "real"', "outputs.y.index: must be a whole number (given: '1')"),
        ('file = "m.onnx"', 'file = "m.onnx"\nbatch_rows = "9"', "onnx.batch_rows: must be a whole number"),
        ("[outputs]", '[lookup]\nin_memory = "yes"\n[outputs]', "lookup.in_memory: must be true or false"),
        ("[outputs]", "[lookup]\nin_memory = 1\n[outputs]", "lookup.in_memory: must be true or false"),
        ("[outputs]", "[live]\n[outputs]", "live: the section alone allows nothing; set allowed = true"),
        ("[outputs]", '[live]\ncache = "5m"\n[outputs]', "live: the section alone allows nothing"),
    ],
)
def test_an_error_is_reported_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert _load(tmp_path, GOOD)
    assert old in GOOD
    with pytest.raises(SpecInvalid) as raised:
        _load(tmp_path, GOOD.replace(old, new))
    assert message in str(raised.value)


def test_a_model_whose_scores_depend_on_the_batch_is_never_live(tmp_path: Path) -> None:
    text = GOOD.replace('file = "m.onnx"', 'file = "m.onnx"\nallow_batch_dependence = true')
    with pytest.raises(SpecInvalid, match=r"live\.allowed: with onnx.allow_batch_dependence"):
        _load(tmp_path, f"{text}[live]\nallowed = true\n")
    without_model = re.sub(r"\[onnx\].*(?=\[outputs)", "", GOOD, flags=re.DOTALL)
    with pytest.raises(SpecInvalid, match=r"live\.allowed: the spec has no \[onnx\] section"):
        _load(tmp_path, f"{without_model}[live]\nallowed = true\n")


@pytest.mark.parametrize("name", ["Churn", "churn-rate", "2nd", "churn_v2", "freshness", "a" * 49])
def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalid, match="model"):
        _load(tmp_path, GOOD, name)


def test_a_duration_can_be_a_hundred_years(tmp_path: Path) -> None:
    for longest in ("36500d", "876000h"):
        retention = _load(tmp_path, GOOD + f'[retention]\ngrace = "{longest}"\n').retention
        assert retention.grace.days == 36500


def test_only_what_changes_the_table_changes_the_fingerprint(tmp_path: Path) -> None:
    original = _load(tmp_path, GOOD)
    scheduled = _load(tmp_path, GOOD + '[freshness]\nmax_age = "1h"\n[schedule]\ncron = "0 5 * * *"\n')
    retyped = _load(tmp_path, GOOD.replace('type = "real"', 'type = "double precision"'))
    commented = _load(tmp_path, GOOD.replace('type = "real"', 'type = "real", comment = "from 0 to 1"'))
    assert original.fingerprint == scheduled.fingerprint == commented.fingerprint
    assert original.fingerprint != retyped.fingerprint


def test_the_committed_json_schema_is_up_to_date() -> None:
    committed = json.loads((Path(__file__).parents[1] / "specs/spec.schema.json").read_text())
    assert committed == spec_file.json_schema(), "run: prescore schema > specs/spec.schema.json"


def test_the_json_schema_has_every_key_of_the_example() -> None:
    schema = spec_file.json_schema()
    example = tomllib.loads((Path(__file__).parents[1] / "specs/flight_delay.toml").read_text())
    assert set(example) <= set(schema["properties"])
    assert "model" not in schema["required"]


def test_a_fingerprint_is_the_same_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    sets = 'nullable = ["a", "b"]\nallow_precision_loss = ["b", "a"]'
    path.write_text(GOOD.replace('file = "m.onnx"', f'file = "m.onnx"\n{sets}'))
    code = "import pathlib, sys; from prescore.project import spec_file; path = pathlib.Path(sys.argv[1])"
    code += "; print(spec_file.load(path).fingerprint)"
    command = [sys.executable, "-c", code, str(path)]
    environments = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in range(4)]
    fingerprints = {subprocess.check_output(command, env=environment) for environment in environments}
    assert len(fingerprints) == 1
