"""A project: the folder with prescore.toml, its specs, and the store of what versions were made from."""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from prescore.catalog import naming
from prescore.catalog.database import EMBEDDED, URL_VARIABLE
from prescore.errors import Mistake, NotFound, SpecInvalid
from prescore.project import spec, validation_messages

FILE = "prescore.toml"
FOLDER = ".prescore"
"""Where a project keeps what it made itself."""
STORE = "PRESCORE_STORE"


_UNITS = {"MB": 10**6, "GB": 10**9}


def _size(value: str) -> str:
    if not re.fullmatch(r"\d+(MB|GB)", value):
        raise ValueError('write a whole number and MB or GB, such as "384MB"')
    return value


def size_bytes(size: str) -> int:
    """How many bytes a size of the settings is."""
    return int(size[:-2]) * _UNITS[size[-2:]]


def _database(value: str) -> str:
    if value != EMBEDDED and not value.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise ValueError(f'write "{EMBEDDED}", or a URL such as "postgresql://user:password@host:port/database"')
    return value


def _place(value: str) -> str:
    if ":" in value.split("/")[0] and not re.match(r"[a-z][a-z0-9+.-]*://[^/]", value):
        raise ValueError('write a path, or a URL such as "s3://bucket/prefix"')
    return value


DatabaseName = Annotated[str, AfterValidator(_database)]
Place = Annotated[str, AfterValidator(_place)]
Size = Annotated[str, AfterValidator(_size)]


class Settings(BaseModel):
    """What prescore.toml may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: DatabaseName | None = Field(
        None, description=f'a libpq URL, or "{EMBEDDED}"; {URL_VARIABLE} overrides it'
    )
    store: Place = Field(
        f"{FOLDER}/store",
        description=f"where snapshots and model files are kept: a path or a URL; {STORE} overrides it",
    )
    sources: dict[str, str] = Field({}, description="name = SQLAlchemy URL, or env:VARIABLE, for specs' domain.source")
    workers: int = Field(0, ge=0, description="chunks scored side by side; 0: one a core")
    chunk_rows: int = Field(102_400, ge=1, description="rows a chunk, about: sources deliver in batches of their own")
    memory_limit: Size = Field("384MB", description="what DuckDB may hold before it spills to disk")
    disk_budget: Size | None = Field(None, description="what versions' tables and the store may take together")


class Project:
    """A folder and its settings."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """The project around a folder (PRESCORE_PROJECT or the current one by default); raises Mistake."""
        begin = (start or cls.here()).resolve()
        root = next((folder for folder in (begin, *begin.parents) if (folder / FILE).is_file()), None)
        if root is None:
            raise Mistake(f"No {FILE} in {begin} or above. `prescore init NAME` starts a project here.")
        return cls(root, _settings(root / FILE))

    @staticmethod
    def here() -> Path:
        """The folder to begin from: PRESCORE_PROJECT or the current one; raises Mistake when that is no folder."""
        named = Path(os.environ.get("PRESCORE_PROJECT", "."))
        if not named.is_dir():
            raise Mistake(
                f"PRESCORE_PROJECT names {named}, which is no folder. Set it to the one with {FILE}, or unset it."
            )
        return named

    def spec(self, model: str) -> spec.Spec:
        """The spec of a model; raises NotFound or SpecInvalid."""
        path = self.root / "specs" / f"{model}.toml"
        if not path.exists():
            raise NotFound(f"There is no spec {path}. {self._instead(model)}")
        return spec.load(path)

    def _instead(self, model: str) -> str:
        """What to do about a model that has no spec: name one that is there, or one that could be."""
        near = get_close_matches(model.lower(), self.models(), n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        if fault := naming.model_name_error(model):
            return f"{meant}{model!r} cannot name a model: {fault}."
        return f"{meant}`prescore init {model}` writes one to start from."

    def models(self) -> list[str]:
        """The names of the specs."""
        return sorted(path.stem for path in (self.root / "specs").glob("*.toml"))

    @property
    def store(self) -> Path | str:
        """Where snapshots and model files are kept: a folder, or a URL; raises Mistake when it is neither."""
        try:
            named = _place(os.environ.get(STORE) or self.settings.store)
        except ValueError as error:
            raise Mistake(f"{STORE} is {os.environ[STORE]!r}: {error}.") from error
        return named if "://" in named else self.root / named

    @property
    def database_name(self) -> str:
        """The URL of the database, or "embedded"; raises Mistake when neither settings nor environment name one."""
        named = os.environ.get(URL_VARIABLE) or self.settings.database
        if not named:
            raise Mistake(
                f'No database is named. Set {URL_VARIABLE}, or write database = "{EMBEDDED}" in {self.root / FILE}.'
            )
        return named


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; git is told to pass over a new .prescore, whose content is no source."""
    private = next((above for above in (folder, *folder.parents) if above.name == FOLDER), None)
    if private is not None and not private.exists():
        private.mkdir(parents=True, exist_ok=True)
        (private / ".gitignore").write_text("*\n")
    folder.mkdir(parents=True, exist_ok=True)


def _settings(path: Path) -> Settings:
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path} is not readable as TOML: {error}.") from error
    except ValidationError as error:
        told = "\n".join(validation_messages.lines(error, Settings, "docs/reference/settings.md"))
        raise SpecInvalid(f"{path} does not hold together:\n{told}") from error
