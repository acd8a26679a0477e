"""The base of every section of a spec."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of a spec. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
