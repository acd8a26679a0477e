"""From the value of --data to a data set: a file, a .sql file, or a table of a database."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prescore.draft.dataset import Dataset, duckdb_quote, file_relation, relative
from prescore.errors import Mistake
from prescore.project.project import Settings
from prescore.sources import domain, engines
from prescore.sources.databases import DatabaseSource
from prescore.sources.duckdb_files import DuckDBSource

_NEW_SOURCE = "data"


@dataclass(frozen=True)
class OpenedData:
    """A data set, and the name and URL that [sources] in prescore.toml lacks for it, if it does."""

    dataset: Dataset
    new_source: tuple[str, str] | None = None


def open_data(data: str, table: str | None, root: Path, settings: Settings) -> OpenedData:
    """Return the data that `--data` and `--table` mean; raise Mistake if they mean none."""
    if data in settings.sources:
        return OpenedData(_database_table(data, settings.sources[data], table, root))
    if "://" in data or data.startswith("env:"):
        _require_no_password(data)
        for name, url in settings.sources.items():
            if url == data:
                return OpenedData(_database_table(name, url, table, root))
        return OpenedData(_database_table(_NEW_SOURCE, data, table, root), (_NEW_SOURCE, data))
    if table is not None:
        raise Mistake(f"--table names a table of a database, and {data} is a file. Leave it out.")
    return OpenedData(_file(Path(data), root, settings))


def _file(path: Path, root: Path, settings: Settings) -> Dataset:
    spill = Path(tempfile.gettempdir()) / f"prescore-init-{os.getpid()}"
    label = relative(path, root)
    source = DuckDBSource(query_file=label, root=root, spill=spill, memory_limit=settings.memory_limit)
    if path.suffix.lower() != ".sql":
        return Dataset(source, file_relation(path, root), duckdb_quote)
    if not path.exists():
        raise Mistake(f"There is no file {path}.")
    text = path.read_text(encoding="utf-8-sig").rstrip().removesuffix(";")
    return Dataset(source, f"(\n{text}\n) as data", duckdb_quote, query_file=label)


def _database_table(name: str, url: str, table: str | None, root: Path) -> Dataset:
    if table is None:
        raise Mistake("--data names a database. Name its table as well: --table customers, or --table schema.customers")
    url = domain.resolved_url(name, url)
    engine = engines.create(name, url, root)
    quote = engine.dialect.identifier_preparer.quote
    relation = ".".join(quote(part) for part in table.split("."))
    source = DatabaseSource(query_file=f"of {table}", name=name, url=url, root=root)
    return Dataset(source, relation, quote, source_name=name)


def _require_no_password(data: str) -> None:
    if not data.startswith("env:") and urlsplit(data).password:
        raise Mistake(
            "The URL in --data has a password, which must not stand in prescore.toml. Put the URL into an environment "
            "variable, and give its name: --data env:WAREHOUSE_URL"
        )
