"""What commands open: the project here, its database, its catalog. Heavy imports wait until a command needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from prescore.catalog.catalog import Catalog
    from prescore.catalog.database import Database
    from prescore.public.project import Project


def project(*, progress: bool = True) -> Project:
    """Return the project here; it may be missing when the environment names a database."""
    from prescore.public.project import Project

    return Project(progress=progress)


def database() -> Database:
    """Return the database that the environment or the project here names; the embedded one is started first."""
    from prescore.public.session import Session

    return Session().database


def catalog() -> AbstractContextManager[Catalog]:
    """Open the catalog of that database as it is, without migrating it."""
    from prescore.public.session import Session

    return Session().catalog()


def withdrawn_file(name: str) -> str | None:
    """Return what to do about a model file of the project here that made a withdrawn version."""
    from prescore.public import withdrawn_file
    from prescore.public.session import Session

    return withdrawn_file.remark(Session(), name)
