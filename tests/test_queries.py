"""Named statements: every call names one that exists and passes what it takes, and every statement is used."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_overloads, get_type_hints, is_typeddict

import pytest

from doc_pages import ROOT
from prescore.catalog.api_keys import ApiKey
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.catalog.queries import query, statements
from prescore.catalog.version_row import VersionRow

SOURCES = ("jobs", "lookup_api", "dags")
METHODS = {"one", "all", "execute"}
"""Methods of `Catalog` that take the name of a statement."""
NAME = re.compile(r"[a-z_]+")
PLACEHOLDER = re.compile(r"(?<!%)%\((\w+)\)s")


class Call(NamedTuple):
    """A call that names a statement.

    `placeholders` and `identifiers` are the names that the call passes, or None if the call does not determine them.
    With `complete` it passes exactly these, otherwise also others that the source does not show.
    """

    where: str
    statement: str
    placeholders: set[str] | None
    identifiers: set[str] | None
    complete: bool


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def _calls() -> Iterator[Call]:
    for path, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                where = f"{path}:{node.lineno}"
                yield from _catalog_calls(node, where)
                yield from _query_calls(node, where)
                yield from _executions(node, where)


def _catalog_calls(node: ast.Call, where: str) -> Iterator[Call]:
    """Yield the statements of `catalog.one("name", key=value)`."""
    if _method(node) in METHODS:
        for name in _names(node.args[0]):
            yield Call(where, name, _keywords(node), set(), _is_complete(node))


def _query_calls(node: ast.Call, where: str) -> Iterator[Call]:
    """Yield the statements of `query("name", identifier=value)`."""
    if _is_query(node):
        for name in _names(node.args[0]):
            yield Call(where, name, None, _keywords(node), _is_complete(node))


def _executions(node: ast.Call, where: str) -> Iterator[Call]:
    """Yield the statements of `execute(query("name"), {"key": value})`, also with other methods than `execute`."""
    inner = node.args[0]
    if not (isinstance(inner, ast.Call) and _is_query(inner) and _method(node)):
        return
    if _method(node) not in {"execute", "rows"}:
        return
    parameters = node.args[1] if len(node.args) > 1 else ast.Dict([], [])
    if not isinstance(parameters, ast.Dict):
        return
    keys = {key.value for key in parameters.keys if isinstance(key, ast.Constant)}
    complete = len(keys) == len(parameters.keys)
    for name in _names(inner.args[0]):
        yield Call(where, name, {str(key) for key in keys}, None, complete)


def _method(node: ast.Call) -> str | None:
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _is_query(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "query" and bool(node.args)


def _names(node: ast.expr) -> list[str]:
    """Return the statement names that an argument can have; none if only a run determines them."""
    if isinstance(node, ast.IfExp):
        return _names(node.body) + _names(node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
        return [node.value]
    return []


def _keywords(node: ast.Call) -> set[str]:
    return {keyword.arg for keyword in node.keywords if keyword.arg is not None}


def _is_complete(node: ast.Call) -> bool:
    return all(keyword.arg is not None for keyword in node.keywords)


def _identifiers(statement: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(statement) if field is not None}


CALLS = list(_calls())


def _typed_rows() -> Iterator[tuple[str, Any]]:
    """Yield each statement whose rows have a type: of the overloads of `Catalog`, and as annotated elsewhere."""
    for method in (Catalog.one, Catalog.all):
        for overloaded in get_overloads(method):
            hints = get_type_hints(overloaded)
            for row_type in get_args(hints["return"]):
                if is_typeddict(row_type):
                    yield from ((name, row_type) for name in get_args(hints["name"]))
    yield "lookup_version", VersionRow
    yield "api_keys_list", ApiKey


TYPED = dict(_typed_rows())
"""Statements whose rows have a type."""


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where}-{call.statement}")
def test_a_call_fits_its_statement(call: Call) -> None:
    statement = statements().get(call.statement)
    assert statement is not None, f"there is no statement {call.statement}"
    for passed, taken in (
        (call.placeholders, set(PLACEHOLDER.findall(statement))),
        (call.identifiers, _identifiers(statement)),
    ):
        if passed is not None:
            assert passed <= taken, f"{call.statement} does not take {passed - taken}"
            assert passed == taken or not call.complete, f"{call.statement} also takes {taken - passed}"


def test_calls_are_recognized() -> None:
    # A renamed method would otherwise make this file pass without testing anything.
    assert len(CALLS) > 100
    assert len({call.statement for call in CALLS}) > 0.9 * len(statements())


def test_every_statement_is_used() -> None:
    strings = set()
    for _, tree in _sources():
        strings |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(statements()) - strings == set()


def test_every_statement_has_a_name_and_every_name_a_statement() -> None:
    assert all(text and not text.startswith("--") for text in statements().values())


@pytest.mark.parametrize("name", TYPED)
def test_a_row_has_the_fields_of_its_type(connection: Connection, name: str) -> None:
    values: dict[str, Any] = dict.fromkeys(PLACEHOLDER.findall(statements()[name]))
    with connection.transaction():
        described = connection.execute(query(name), values).description or []
    assert {column.name for column in described} == set(TYPED[name].__annotations__)
