"""The documentation is true: commands print what a page shows, and the reference covers everything in the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from sklearn.linear_model import LogisticRegression

import prescore
import website
from doc_pages import (
    DOCS,
    EXAMPLE_PAGES,
    ROOT,
    SEQUENCES,
    TOOLKIT_PAGES,
    Terminal,
    blocks,
    fits,
    name,
    prose,
    rows,
    sections,
)
from prescore import errors
from prescore.catalog import queries
from prescore.catalog.database import Connection, Database
from prescore.cli import main
from prescore.cli.errors import exit_code
from prescore.project import spec, spec_file
from prescore.project.project import Settings
from prescore.public.project import Project
from prescore_api.client import (
    Answer,
    ApiError,
    Canary,
    Client,
    Column,
    Feature,
    InMemory,
    Live,
    Model,
    ScoreAnswer,
    Version,
)
from prescore_api.http import openapi

REFERENCE = ROOT / "docs/reference"
GLOSSARY = {"model", "spec", "domain", "snapshot", "chunk", "version", "publish", "roll back", "retire", "data_as_of"}
GLOSSARY |= {
    "freshness",
    "hold",
    "reject",
    "base",
    "canary",
    "comparison",
    "delta",
    "kept row",
    "live answer",
    "rebase",
}
GLOSSARY |= {"shadow", "signature", "tombstone"}
# The SQL would allow this, but no step does it: a failed version's table is dropped at once.
NEVER = {("failed", "retired")}
SOURCES = ("jobs", "lookup_api", "dags", "sql", "benchmarks", "tests")


@pytest.fixture
def terminal(tmp_path: Path, database: Database, command: Path) -> Iterator[Terminal]:
    """An empty folder, and a database of this page's own."""
    opened = Terminal(tmp_path, database.url, command=command)
    yield opened
    opened.close()


def _churn(folder: Path) -> None:
    """Create what a reader of the README has: customers, a model of which of them leave, and one of shuffled labels."""
    random = np.random.default_rng(7)
    visits = random.poisson(6, 10_000).astype(np.float32)
    spend = random.gamma(2, 40, 10_000).round(2).astype(np.float32)
    left = random.random(10_000) < 1 / (1 + np.exp(0.5 * visits + 0.01 * spend - 2.5))
    customers = pd.DataFrame({"customer_id": range(1, 10_001), "visits": visits, "spend": spend})
    (folder / "data").mkdir()
    customers.to_parquet(folder / "data/customers.parquet")
    for models, labels in (("models", left), ("models/shuffled", random.permutation(left))):
        model = LogisticRegression().fit(customers[["visits", "spend"]], labels)
        prescore.export_onnx(model, customers, folder / models / "churn.onnx")


LIVE = [
    pages
    for pages in SEQUENCES
    if pages[0] not in (*TOOLKIT_PAGES, *EXAMPLE_PAGES) and any(block.live for page in pages for block in blocks(page))
]


@pytest.mark.parametrize("pages", LIVE, ids=lambda pages: name(pages[0]))
def test_commands_print_what_the_page_shows(pages: list[Path], terminal: Terminal) -> None:
    if pages[0] == ROOT / "README.md":
        _churn(terminal.folder)
    for page in pages:
        for block in blocks(page):
            terminal.do(block)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n…\nb", "a\nb\n", True),
        ("a\n…\nb", "a\n1\n2\nb  \n", True),
        ("…", "", True),
        ("", "", True),
        ("", "a", False),
        ("score  0.1…", "score  0.1612", True),
        ("score  0.1…", "score  0.2612", False),
        ("a", "a\nb", False),
        ("(a|b)*", "(a|b)*", True),
    ],
)
def test_ellipses(expected: str, printed: str, *, same: bool) -> None:
    assert fits(expected, printed) is same


def test_blocks_that_are_not_run_are_valid() -> None:
    for block in (block for page in DOCS for block in blocks(page)):
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "python":
            compile(block.text, f"{block.page}, line {block.line}", "exec")


def test_links_lead_somewhere() -> None:
    wrong = [f"{name(page)}: {link}" for page in DOCS for link in _links(page) if not _exists(page, link)]
    assert not wrong, f"Links within the documentation that lead nowhere: {wrong}"


def _links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not link.startswith("http")]


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in map(_anchor, sections(target)))


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_can_be_found() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in DOCS for link in _links(page)}
    lost = [name(page) for page in DOCS if page not in linked and page.name != "README.md"]
    assert not lost, f"Pages that no other page links to; add a link, in README.md perhaps: {lost}"


def test_every_page_is_in_the_navigation_of_the_website() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    lost = [website.place(page) for page in DOCS if website.place(page) not in navigation]
    assert not lost, f"Pages that the website doesn't show; add them to nav in mkdocs.yml: {lost}"


def test_the_badges_state_what_the_package_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, end = (int(bound.rpartition(".")[2]) for bound in project["requires-python"].split(","))
    versions = " | ".join(f"3.{minor}" for minor in range(first, end))
    assert f">{versions}<" in (ROOT / "docs/pictures/python.svg").read_text(), "Run make pictures."
    assert f">{project['license']}<" in (ROOT / "docs/pictures/licence.svg").read_text(), "Run make pictures."


def test_prescore_is_installed_from_its_wheel() -> None:
    """It is not on PyPI yet."""
    wrong = [
        name(page) for page in DOCS if re.search(r"""^pip install ["']?prescore""", page.read_text(), re.MULTILINE)
    ]
    assert not wrong, f"Pages that install prescore from PyPI: {wrong}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in DOCS for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named <= targets, f"The documentation names targets that the Makefile lacks: {named - targets}"


def _commands(group: Any, prefix: str = "prescore") -> Iterator[tuple[str, Any]]:
    for called, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {called}")
        else:
            yield f"{prefix} {called}", command


def test_every_command_and_option_is_documented() -> None:
    described = {h: text for h, text in sections(REFERENCE / "cli.md").items() if h.startswith("prescore ")}
    commands = dict(_commands(typer.main.get_command(main.app)))
    assert set(described) == set(commands), "docs/reference/cli.md takes a heading `## prescore …` for each command"
    for called, command in commands.items():
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")} - {"--help"}
        documented = set(rows(described[called]))
        assert documented == options, f"docs/reference/cli.md, {called}: a row for each option, and for no other"
        arguments = (p for p in command.params if p.param_type_name == "argument")
        usage = " ".join([f"`{called}", *(a.metavar if a.required else f"[{a.metavar}]" for a in arguments)])
        assert usage in described[called], f"docs/reference/cli.md, {called}: begin with {usage}`"


def _keys(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every key of a JSON schema as the reference writes it, with its node; `*` stands for names of the user."""
    inner = dict(node.get("properties", {}))
    if isinstance(values := node.get("additionalProperties"), dict):
        inner["*"] = values
    for key, value in inner.items():
        below = f"{path}.{key}".lstrip(".")
        yield below, value
        yield from _keys(schema, value, below)
    for branch in [*node.get("anyOf", []), *([node["items"]] if "items" in node else [])]:
        yield from _keys(schema, branch, path)
    if "$ref" in node:
        yield from _keys(schema, schema["$defs"][node["$ref"].split("/")[-1]], path)


def test_every_key_of_the_spec_is_documented() -> None:
    schema = spec_file.json_schema()
    keys = dict(_keys(schema, schema))
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    documented = {key: row for text in sections(REFERENCE / "spec.md").values() for key, row in _spec_rows(text)}
    assert leaves <= set(documented), f"docs/reference/spec.md lacks {sorted(leaves - set(documented))}"
    assert set(documented) <= set(keys), f"No such key in the spec: {sorted(set(documented) - set(keys))}"
    for key, row in documented.items():
        _assert_default_documented("docs/reference/spec.md", key, keys[key].get("default"), row)


def _spec_rows(text: str) -> list[tuple[str, str]]:
    """Return the rows of tables that describe keys, and not of those that list expectations."""
    return list(rows(text[text.index("| key ") :].split("\n\n")[0]).items()) if "| key " in text else []


def _assert_default_documented(page: str, key: str, default: object, row: str) -> None:
    if default and isinstance(default, str | int):
        written = f'"{default}"' if isinstance(default, str) else str(default)
        assert written in row, f"{page}: the default of {key} is {written}"


@pytest.mark.parametrize("kind", [spec.KeyType, spec.OutputType, spec.PassthroughType])
def test_every_type_is_documented(kind: Any) -> None:
    text = (REFERENCE / "spec.md").read_text()
    absent = [type_name for type_name in kind.__args__ if f'"{type_name}"' not in text]
    assert not absent, f"docs/reference/spec.md lacks the types {absent}"


@pytest.mark.parametrize(("function", "module"), [("airflow_dags", "factory"), ("airflow_task_group", "group")])
def test_every_argument_of_the_dags_is_documented(function: str, module: str) -> None:
    # Importing the module would import Airflow, which changes the logging of this process.
    tree = ast.parse((ROOT / f"dags/prescore_dags/{module}.py").read_text())
    (definition,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    arguments = {argument.arg for argument in (*definition.args.args, *definition.args.kwonlyargs)}
    documented = {name for cell in rows(sections(REFERENCE / "airflow.md")[function]) for name in cell.split("`, `")}
    assert documented == arguments, f"docs/reference/airflow.md, {function}: a row for each argument, and for no other"


def test_every_setting_is_documented() -> None:
    documented = rows(sections(REFERENCE / "settings.md")["prescore.toml"])
    assert set(documented) == set(Settings.model_fields), "docs/reference/settings.md: a row for each setting"
    for key, setting in Settings.model_fields.items():
        _assert_default_documented("docs/reference/settings.md", key, setting.default, documented[key])


def test_every_environment_variable_is_documented() -> None:
    files = [
        ROOT / "Makefile",
        *(p for s in SOURCES for k in ("py", "sql", "toml") for p in (ROOT / s).rglob(f"*.{k}")),
    ]
    used = {v for file in files for v in re.findall(r"PRESCORE_[A-Z]+(?:_[A-Z]+)*", file.read_text())}
    documented = set(rows(sections(REFERENCE / "settings.md")["Environment variables"]))
    assert documented == used, "docs/reference/settings.md: a row for each environment variable, and for no other"


def _errors(kind: type[errors.PrescoreError]) -> Iterator[type[errors.PrescoreError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _errors(inner)


def test_every_error_is_documented() -> None:
    documented = rows((REFERENCE / "errors.md").read_text())
    known = {error("").code: exit_code(error("")) for error in _errors(errors.PrescoreError)}
    assert set(documented) == set(known), "docs/reference/errors.md: a row for each error's code, and for no other"
    for code, status in known.items():
        assert documented[code].endswith(f"| {status} |"), f"docs/reference/errors.md: {code} exits with {status}"


def test_every_endpoint_is_documented() -> None:
    paths = openapi.document()["paths"]
    served = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations} | {"GET /"}
    documented = {heading for heading in sections(REFERENCE / "http.md") if heading.startswith(("GET ", "POST "))}
    assert documented == served, "docs/reference/http.md takes a heading `## GET /…` for each endpoint"


def test_the_client_is_documented() -> None:
    documented = {heading: set(rows(text)) for heading, text in sections(REFERENCE / "client.md").items()}
    kinds: tuple[type, ...] = (Answer, ScoreAnswer, Model, Canary, InMemory, Live, Feature, Column, Version)
    known = {kind.__name__: {field.name for field in fields(kind)} for kind in kinds}
    known["Methods"] = {method for method in vars(Client) if not method.startswith("_")}
    known["Errors"] = {"ApiError"} | {kind.__name__ for kind in ApiError.__subclasses__()}
    for heading, names in known.items():
        assert documented[heading] == names, f"docs/reference/client.md, {heading}: a row for each, and for no other"


def test_the_python_api_is_documented() -> None:
    page = REFERENCE / "python.md"
    documented = {heading: set(rows(text)) for heading, text in sections(page).items()}
    methods = {name for name in vars(Project) if not name.startswith("_")}
    assert documented["Project"] == methods, (
        "docs/reference/python.md, Project: a row for each method, and for no other"
    )
    tables = ("Estimators", "Examples", "Results", "Exceptions")
    names = {"Project", "Scorer"}.union(*(documented[table] for table in tables))
    assert names == set(prescore.__all__), "docs/reference/python.md: a row for each exported name, and for no other"
    for exception, row in rows(sections(page)["Exceptions"]).items():
        base = getattr(prescore, exception).__base__.__name__
        assert row.endswith(f"| `{base}` |"), f"docs/reference/python.md: the base class of {exception} is {base}"


def test_every_table_and_column_is_documented(connection: Connection) -> None:
    page = (REFERENCE / "catalog.md").read_text()
    columns = connection.execute(
        "select table_schema || '.' || table_name as name, column_name as column"
        " from information_schema.columns where table_schema in ('prescore', 'predictions')"
    ).fetchall()
    for column in columns:
        part = re.search(
            rf"^(?:#+ |\*\*){re.escape(column['name'])}(.*?)(?=^#|^\*\*|\Z)", page, re.DOTALL | re.MULTILINE
        )
        assert part, f"docs/reference/catalog.md takes a heading ## {column['name']}"
        assert f"`{column['column']}`" in part[1], (
            f"docs/reference/catalog.md, {column['name']}: add {column['column']}"
        )


def test_every_state_is_documented(connection: Connection) -> None:
    constraint = connection.execute(
        "select string_agg(pg_get_constraintdef(oid), ' ') as text from pg_constraint"
        " where conrelid = 'prescore.versions'::regclass and contype = 'c'"
    ).fetchone() or {"text": ""}
    states = set(re.findall(r"'(\w+)'::text", constraint["text"]))
    assert set(rows((ROOT / "docs/versions.md").read_text())) == states, "docs/versions.md: a row for each state"


def test_the_diagram_has_the_moves_that_the_sql_makes() -> None:
    moves: set[tuple[str, str]] = set()
    for called, statement in queries.statements().items():
        setting = re.search(r"set state = (?:'(\w+)'|%\(state\)s)", statement)
        if called.startswith("versions_") and setting:
            came = re.findall(r"'(\w+)'", statement.rpartition("where")[2])
            moves |= {(old, new) for old in came for new in ([setting[1]] if setting[1] else ["checked", "refused"])}
    drawn = re.findall(r"^ +(\w+) --> (\w+)", (ROOT / "docs/versions.md").read_text(), re.MULTILINE)
    assert set(drawn) == moves - NEVER, "docs/versions.md: draw the moves of sql/prescore_sql/queries/versions.sql"


def test_every_word_is_in_the_glossary() -> None:
    words = re.findall(r"^\*\*([^*]+)\*\*:", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert set(words) >= GLOSSARY, f"docs/glossary.md lacks {sorted(GLOSSARY - set(words))}"
    assert words == sorted(words, key=str.lower), "docs/glossary.md is in the order of the alphabet"
