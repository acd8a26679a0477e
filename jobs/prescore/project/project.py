"""A project: the folder with prescore.toml, the specs and the store."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from prescore.catalog import naming
from prescore.catalog.database import EMBEDDED
from prescore.catalog.urls import URL_VARIABLE
from prescore.errors import Mistake, NotFound, SpecInvalid
from prescore.project import folder, spec_file, validation_messages
from prescore.project.folder import FILE, PROJECT
from prescore.project.spec import Spec
from prescore.wording import did_you_mean

FOLDER = ".prescore"
"""The folder for files that prescore itself writes into a project."""
STORE = "PRESCORE_STORE"
_SIZE_UNITS = {"MB": 10**6, "GB": 10**9}


def _size(value: str) -> str:
    if not re.fullmatch(r"\d+(MB|GB)", value):
        raise ValueError('must be a whole number and MB or GB, such as "384MB"')
    return value


def size_bytes(size: str) -> int:
    """Return the bytes in a size such as "384MB"."""
    number, unit = int(size[:-2]), size[-2:]
    return number * _SIZE_UNITS[unit]


def _database(value: str) -> str:
    schemes = ("postgresql://", "postgres://", "postgresql+psycopg://")
    if value != EMBEDDED and not value.startswith(schemes):
        raise ValueError(f'must be "{EMBEDDED}", or a URL such as "postgresql://user:password@host:port/database"')
    return value


def _place(value: str) -> str:
    has_scheme = ":" in value.split("/")[0]
    if has_scheme and not re.match(r"[a-z][a-z0-9+.-]*://[^/]", value):
        raise ValueError('must be a path, or a URL such as "s3://bucket/prefix"')
    return value


DatabaseName = Annotated[str, AfterValidator(_database)]
Place = Annotated[str, AfterValidator(_place)]
Size = Annotated[str, AfterValidator(_size)]


class Settings(BaseModel):
    """The settings in prescore.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: DatabaseName | None = Field(
        None,
        description=f'the URL of a Postgres database, or "{EMBEDDED}"; {URL_VARIABLE} overrides it',
    )
    store: Place = Field(
        f"{FOLDER}/store",
        description=f"where snapshots and model files are kept: a path or a URL; {STORE} overrides it",
    )
    sources: dict[str, str] = Field(
        {},
        description="databases for domain.source in specs: name = SQLAlchemy URL, or env:VARIABLE",
    )
    require_examples: StrictBool = Field(
        False, description="whether every spec with an ONNX file must name examples that the model reproduces"
    )
    workers: StrictInt = Field(0, ge=0, description="how many chunks are scored in parallel; 0: one for each core")
    chunk_rows: StrictInt = Field(102_400, ge=1, le=100_000_000, description="about how many rows a chunk has")
    memory_limit: Size = Field("384MB", description="how much memory DuckDB uses before it spills to disk")
    disk_budget: Size | None = Field(
        None, description="how much disk space the tables of versions and the store may use together"
    )


class Project:
    """A folder and its settings."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """Return the project that a folder belongs to, by default that of `start_folder`.

        Raises Mistake if neither the folder nor one above it has a prescore.toml, and SpecInvalid if that is not valid.
        """
        root = folder.find(start or cls.start_folder())
        return cls(root, _load_settings(root / FILE))

    @staticmethod
    def start_folder() -> Path:
        """Return the folder in PRESCORE_PROJECT, or else the current one; raise Mistake if it is not a folder."""
        start = Path(os.environ.get(PROJECT, "."))
        if not start.is_dir():
            raise Mistake(
                f"{PROJECT} is {start}, which is not a folder. Set it to the folder with {FILE}, or unset it."
            )
        return start

    def spec(self, model: str) -> Spec:
        """Return the spec of a model; raise NotFound or SpecInvalid."""
        path = folder.spec_file(self.root, model)
        if not path.exists():
            raise self.spec_missing(model)
        return spec_file.load(path)

    def spec_missing(self, model: str) -> NotFound:
        """Return the error for a model without a spec."""
        return NotFound(f"There is no spec {folder.spec_file(self.root, model)}.{self._suggestion(model)}")

    def _suggestion(self, model: str) -> str:
        """Return sentences on what to do about a model without a spec: use a similar name, or create the spec."""
        suggestion = did_you_mean(model, self.models())
        if reason := naming.model_name_error(model):
            return f"{suggestion} {model!r} is not a valid model name: {reason}."
        return f"{suggestion} Run `prescore init {model}` to create one."

    def models(self) -> list[str]:
        """Return the names of all models that have a spec, sorted."""
        return folder.models(self.root)

    @property
    def store(self) -> Path | str:
        """Return the place of snapshots and model files, a folder or a URL; raise Mistake if it is neither."""
        try:
            place = _place(os.environ.get(STORE) or self.settings.store)
        except ValueError as error:
            raise Mistake(f"{STORE} is {os.environ[STORE]!r}: it {error}.") from error
        return place if "://" in place else self.root / place

    @property
    def database_name(self) -> str:
        """Return the URL of the database, or "embedded"; raise Mistake if none is configured."""
        name = os.environ.get(URL_VARIABLE) or self.settings.database
        if not name:
            raise Mistake(
                f"No database is configured. Set {URL_VARIABLE}, "
                f'or write database = "{EMBEDDED}" in {self.root / FILE}.'
            )
        return name


def environment_store() -> Path | str | None:
    """Return the place of the store that PRESCORE_STORE names, a folder or a URL, None without it; raise Mistake."""
    name = os.environ.get(STORE)
    if not name:
        return None
    try:
        place = _place(name)
    except ValueError as error:
        raise Mistake(f"{STORE} is {name!r}: it {error}.") from error
    return place if "://" in place else Path(place).absolute()


def make_folder(path: Path) -> None:
    """Create a folder and its parents; a new .prescore gets a .gitignore, because its files are not sources."""
    for parent in (path, *path.parents):
        if parent.name == FOLDER:
            _make_private_folder(parent)
            break
    path.mkdir(parents=True, exist_ok=True)


def _make_private_folder(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n")


def _load_settings(path: Path) -> Settings:
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        errors = validation_messages.lines(error, Settings, {})
        raise SpecInvalid(f"{path} is not valid:\n" + "\n".join(errors)) from error
