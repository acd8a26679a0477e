"""Spec files: read one with the values of the environment, and the JSON schema that editors validate it with."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prescore.errors import NotFound, SpecInvalid
from prescore.project import consistency, validation_messages
from prescore.project.environment import Resolver
from prescore.project.spec import Spec


class VariableUnset(SpecInvalid):
    """The spec refers to an environment variable that is not set here."""

    @property
    def code(self) -> str:
        """The code of SpecInvalid."""
        return "spec_invalid"


def load(path: Path) -> Spec:
    """Return the spec in a file, with the values of environment variables that its texts refer to.

    Raises NotFound if there is no file, VariableUnset for variables without a value, and SpecInvalid with every error.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no spec {path}. Run `prescore init {path.stem}` to create one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path} is not valid TOML: {error}.") from error
    if "model" in content:
        raise SpecInvalid(f"{path} must not have the key model: the name of the file, {path.stem}, names the model.")
    resolver = Resolver(os.environ)
    content = resolver.resolve(content)
    if resolver.faults or resolver.unset:
        kind = SpecInvalid if resolver.faults else VariableUnset
        faults = "\n  ".join([*resolver.faults, *resolver.unset])
        raise kind(f"{path} is not valid:\n  {faults}")
    try:
        return Spec.model_validate({**content, "model": path.stem})
    except ValidationError as error:
        errors = validation_messages.lines(error, Spec, content, resolver.written)
        errors += [f"  {message}" for message in consistency.errors(content)]
        raise SpecInvalid(f"{path} is not valid:\n" + "\n".join(errors)) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a spec, which editors use for completion and validation."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "prescore spec"
    schema["required"].remove("model")
    del schema["properties"]["model"]
    return schema
