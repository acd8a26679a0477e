"""The table of column types: Postgres knows every type, and every map by type has all of them.

To add a type, add its row in `prescore.catalog.types`. These tests then name the maps that lack it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from doc_pages import ROOT, rows, sections
from fix_postgres import create_vector_extension
from prescore.catalog import keys
from prescore.catalog.catalog import Column
from prescore.catalog.database import Connection
from prescore.catalog.types import (
    ARRAYS,
    KEY_TYPES,
    NUMBERS,
    OUTPUT_TYPES,
    PASSTHROUGH_TYPES,
    SCALARS,
    TIMES,
    TYPES,
    short_name,
)
from prescore.errors import KeyInvalid
from prescore.project import scaffold
from prescore_api.client import json_body
from prescore_api.formats import arrow_validation

SOURCES = ("jobs/prescore", "lookup_api/prescore_api", "dags/prescore_dags")
MAPS = {
    "jobs/prescore/arrow/types.py",
    "jobs/prescore/catalog/datetimes.py",
    "lookup_api/prescore_api/client/column_types.py",
    "lookup_api/prescore_api/oip/outputs.py",
    "lookup_api/prescore_api/tables/loading.py",
}
"""Modules that map column types to something else."""
PARTIAL = {
    "jobs/prescore/catalog/datetimes.py": TIMES,
    # The types that are loaded as wider ones.
    "lookup_api/prescore_api/tables/loading.py": {"smallint", "integer", "real"},
}
"""Modules whose map has only some of the types."""
LARGEST_GROUP = 2
"""How many types a collection may name before it counts as a list of types. `("boolean", "text")` is not one."""
EXAMPLES: dict[str, str] = {
    "smallint": "-7",
    "integer": "7",
    "bigint": "9223372036854775807",
    "text": "Zürich",
    "uuid": "8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d",
    "date": "2013-07-04",
    "timestamp": "2013-07-04T17:30:00",
    "timestamptz": "2013-07-04T17:30:00+02:00",
}
"""A valid value of each type that a key can have."""
OTHERS = {
    "jobs/prescore/catalog/types.py",
    # The types of DuckDB, and the kinds of Python values, some of which have the same names.
    "jobs/prescore/sources/duckdb_types.py",
    "jobs/prescore/sources/values.py",
    # The kinds of features that estimators take.
    "jobs/prescore/export/columns.py",
    "jobs/prescore/export/inputs.py",
}
"""Modules with collections of names that need not be those of all types."""
ARROW_WORDS = {"integer": "integers", "text": "text", "uuid": "UUIDs are text", "time": "dates and timestamps"}
"""Category of a key's type → how the reference names it among the Arrow types that a request may have."""
REFERENCE = ROOT / "docs/reference"


class Literals(NamedTuple):
    """The type names in a literal collection of a module: the keys of a dict, or the items of a sequence or set."""

    path: str
    line: int
    is_map: bool
    names: tuple[str, ...]


def _literal_collections() -> Iterator[Literals]:
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = str(file.relative_to(ROOT))
            for node in ast.walk(ast.parse(file.read_text())):
                items = _items(node)
                names = tuple(item.value for item in items if isinstance(item, ast.Constant) and item.value in TYPES)
                if len(names) > LARGEST_GROUP and path not in OTHERS:
                    yield Literals(path, getattr(node, "lineno", 0), isinstance(node, ast.Dict), names)


def _items(node: ast.AST) -> list[Any]:
    if isinstance(node, ast.Dict):
        return node.keys
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return node.elts
    return []


COLLECTIONS = list(_literal_collections())


@pytest.mark.parametrize("literals", COLLECTIONS, ids=lambda literals: f"{literals.path}:{literals.line}")
def test_a_map_by_type_has_every_type(literals: Literals) -> None:
    assert literals.is_map, "use a constant of prescore.catalog.types instead of a list of type names"
    # Maps derive the arrays from the types of their elements.
    expected = PARTIAL.get(literals.path, SCALARS)
    assert set(literals.names) == set(expected), f"{literals.path} maps column types; it has to map all of these"


def test_every_module_with_a_map_is_checked() -> None:
    assert {literals.path for literals in COLLECTIONS} == MAPS


@pytest.mark.parametrize("name", TYPES)
def test_postgres_knows_the_type_and_its_long_name(connection: Connection, name: str) -> None:
    if name == "vector":
        create_vector_extension(connection)
    row = connection.execute("select format_type(%s::regtype, null) as long_name", [name]).fetchone()
    assert row is not None
    assert short_name(row["long_name"]) == name
    assert row["long_name"] == (TYPES[name].long_name or name)


@pytest.mark.parametrize("name", SCALARS)
def test_the_sql_of_a_type_is_its_name_and_its_array(connection: Connection, name: str) -> None:
    column_type = TYPES[name]
    assert column_type.sql.as_string(None) == name
    row = connection.execute("select %s::regtype::text as name", [column_type.array.as_string(None)]).fetchone()
    assert row == {"name": f"{column_type.long_name or name}[]"}


def test_every_key_type_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(KEY_TYPES)


@pytest.mark.parametrize("name", KEY_TYPES)
def test_a_key_is_the_same_to_python_and_to_postgres(connection: Connection, name: str) -> None:
    parsed = _parsed(name)
    row = connection.execute(f"select %s = %s::text::{name} as same".encode(), [parsed, EXAMPLES[name]]).fetchone()
    assert row == {"same": True}


@pytest.mark.parametrize("name", KEY_TYPES)
def test_the_message_for_an_invalid_key_describes_valid_ones(name: str) -> None:
    column = Column(name="k", type=name, comment="", role="key")
    assert TYPES[name].accepts
    invalid: Any = {"not": "a key"}
    with pytest.raises(KeyInvalid) as raised:
        keys.parse([column], {"k": invalid})
    assert str(raised.value) == f"k must be {TYPES[name].accepts}, not {json.dumps(invalid)}."


@pytest.mark.parametrize("name", KEY_TYPES)
def test_a_key_of_any_type_can_be_sent_as_json_and_as_arrow(name: str) -> None:
    value = _parsed(name)
    assert json.dumps(json_body.convert_keys([{"k": value}]))
    table = pa.table({"k": [str(value) if name == "uuid" else value]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert arrow_validation.read_table(sink.getvalue().to_pybytes()).equals(table)


def test_what_users_read_lists_the_types_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scaffold.write("m")
    drafted = (tmp_path / "specs/m.toml").read_text()
    spec_row = rows(sections(REFERENCE / "spec.md")["Key"])["key.*"]
    assert re.findall(r'`"([a-z ]+)"`', spec_row) == list(KEY_TYPES)
    assert f"Key columns and their types: {', '.join(KEY_TYPES[:-1])} or {KEY_TYPES[-1]}." in drafted
    python_types = {type(_parsed(name)).__name__ for name in KEY_TYPES}
    (sentence,) = re.findall(r"Values are of type ([^.]+)\.", sections(REFERENCE / "client.md")["Methods"])
    assert set(re.findall(r"`(\w+)`", sentence)) == python_types
    arrow = sections(REFERENCE / "http.md")["Arrow"].replace("\n", " ")
    for name in KEY_TYPES:
        assert ARROW_WORDS[TYPES[name].category] in arrow


def _parsed(name: str) -> Any:
    return keys.parse([Column(name="k", type=name, comment="", role="key")], {"k": EXAMPLES[name]})["k"]


def test_an_integer_type_has_a_width_and_no_other_type_has() -> None:
    widths = {name: column_type.bits for name, column_type in TYPES.items() if column_type.bits}
    assert widths == {"smallint": 16, "integer": 32, "bigint": 64}
    assert {name for name, column_type in TYPES.items() if column_type.category == "integer"} == set(widths)


def test_outputs_are_numbers_booleans_text_and_arrays() -> None:
    # The status page draws numbers as histograms, arrays not at all, and all other outputs as bars by value.
    assert set(OUTPUT_TYPES) - set(NUMBERS) - set(ARRAYS) == {"boolean", "text"}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_as_a_postgres_array_of_its_elements(connection: Connection, name: str) -> None:
    array = TYPES[name]
    assert array.readable.as_string(None) == f"{array.element}[]"
    if name == "vector":
        create_vector_extension(connection)
    literal = "[1,2]" if name == "vector" else "{1,2}"
    statement = f"select ('{literal}'::{name}::{array.readable.as_string(None)})[2]::text as second"
    assert connection.execute(statement.encode()).fetchone() == {"second": "2"}


def test_only_outputs_can_be_arrays() -> None:
    assert set(ARRAYS) <= set(OUTPUT_TYPES)
    assert not set(ARRAYS) & {*KEY_TYPES, *PASSTHROUGH_TYPES}
