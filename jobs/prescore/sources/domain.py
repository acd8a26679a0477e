"""The domain of a spec: its source, its query, and the fingerprint of both."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from prescore.errors import DomainInvalid, Mistake
from prescore.project.project import Project
from prescore.project.spec import Spec
from prescore.sources import sql_text
from prescore.sources.databases import DatabaseSource
from prescore.sources.duckdb_files import DuckDBSource
from prescore.sources.source import Source
from prescore.wording import did_you_mean


def open_source(project: Project, spec: Spec, spill: Path) -> Source:
    """Return the source that a spec names; raise Mistake if prescore.toml does not define it.

    `spill` is the folder for what DuckDB cannot hold in memory.
    """
    name, query_file = spec.domain.source, spec.domain.query
    parameters = spec.domain.parameters
    if name == "duckdb":
        return DuckDBSource(
            query_file=query_file,
            parameters=parameters,
            root=project.root,
            spill=spill,
            memory_limit=project.settings.memory_limit,
        )
    url = _source_url(project, name)
    return DatabaseSource(query_file=query_file, parameters=parameters, name=name, url=url, root=project.root)


def query_text(project: Project, spec: Spec) -> str:
    """Return the text of the domain query; raise DomainInvalid if its file cannot be read or holds no query.

    Comments before the query stay in the text, so that the line numbers in a database's messages are those of the file.
    """
    path = project.root / spec.domain.query
    try:
        # Windows' editors begin a file with a byte-order mark.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DomainInvalid(
            f"Cannot read the domain query {path}: {reason}. Create the file, or correct domain.query in the spec."
        ) from error
    if sql_text.is_blank(text):
        raise DomainInvalid(f"The domain query {path} is empty. Write a SELECT that returns every row to predict.")
    return text


def fingerprint(source: Source, query: str, sample_rows: int | None = None, as_of: datetime | None = None) -> str:
    """Return the SHA-256 of a source, without its password, and of the query, its sample's size and its `$as_of`."""
    parts = [source.identity, query]
    if sample_rows is not None:
        parts.append(f"sample {sample_rows}")
    if as_of is not None:
        parts.append(f"as of {as_of.astimezone(UTC).isoformat()}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source_url(project: Project, name: str) -> str:
    """Return the URL of a source in prescore.toml, which may be in an environment variable."""
    url = project.settings.sources.get(name)
    if url is None:
        names = ", ".join(["duckdb", *project.settings.sources])
        raise Mistake(
            f"domain.source is {name}, which is not defined under [sources] in prescore.toml."
            f"{did_you_mean(name, project.settings.sources)} Define it there, or use one of these: {names}."
        )
    return resolved_url(name, url)


def resolved_url(name: str, url: str) -> str:
    """Return the URL of a source, or the one in the environment variable that it names as `env:VARIABLE`."""
    if not url.startswith("env:"):
        return url
    variable = url.removeprefix("env:")
    # Files with secrets end in a line break, which the URL must not have.
    url = os.environ.get(variable, "").strip()
    if not url:
        raise Mistake(
            f"Source {name} takes its URL from the environment variable {variable}, which is not set, or "
            "empty. Set it to the URL of the database."
        )
    return url
