"""What a retirement of versions or the removal of a model drops, as the public API returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from prescore.public import html
from prescore.public.model_version import ModelVersion
from prescore.public.results import Result

if TYPE_CHECKING:
    from prescore.catalog.catalog import Version
    from prescore.project.project import Project as ProjectFiles
    from prescore.versions.removal import Belongings
    from prescore.versions.retention import Inventory


@dataclass(frozen=True)
class RetentionDecision:
    """Why retention keeps a version, as a clause; `reason` is None for a version that is to be retired."""

    version: int
    state: str
    reason: str | None

    def summary(self) -> dict[str, object]:
        """Return what tables show of the decision: heading → value."""
        return {
            "version": self.version,
            "state": self.state,
            "kept because": self.reason,
        }


@dataclass(frozen=True)
class RetirementResult(Result):
    """The versions that a retirement dropped, or with `dry_run` would drop.

    `in_use` are versions that are retired but still being read; the next retirement drops their tables. `dependents`
    names, by version, the objects that keep a table from being dropped, such as views. `decisions` explain a dry run:
    one for each version that exists, newest first.
    """

    model: str
    dry_run: bool
    retired: tuple[int, ...]
    in_use: tuple[int, ...] = ()
    dependents: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    decisions: tuple[RetentionDecision, ...] = ()

    @classmethod
    def planned(cls, model: str, inventory: Inventory) -> Self:
        """Return what a retirement would do."""
        decisions = []
        for row in inventory.existing():
            state = ModelVersion.from_row(row).marked_state
            decision = RetentionDecision(row["version"], state, inventory.reason_to_keep(row))
            decisions.append(decision)
        retirable = tuple(row["version"] for row in inventory.retirable())
        return cls(model, dry_run=True, retired=retirable, decisions=tuple(decisions))

    @classmethod
    def done(cls, model: str, dropped: Sequence[Version], dependents: Mapping[int, Sequence[str]]) -> Self:
        """Return what a retirement did: the versions that it dropped, newest first, and by version what it left.

        `dependents` names the objects that keep a version's table; it names none for one that is being read.
        """
        return cls(
            model=model,
            dry_run=False,
            retired=tuple(row["version"] for row in reversed(dropped)),
            in_use=tuple(version for version, names in dependents.items() if not names),
            dependents={version: tuple(names) for version, names in dependents.items() if names},
        )

    def summary(self) -> dict[str, object]:
        """Return what a notebook shows of the retirement: name → value."""
        if self.dry_run:
            return {
                "model": self.model,
                "would retire": _listed(self.retired),
                "versions": html.nested([decision.summary() for decision in self.decisions]),
            }
        return {
            "model": self.model,
            "retired": _listed(self.retired),
            "still being read": _listed(self.in_use),
            "kept by other objects": _listed(tuple(self.dependents)),
        }


@dataclass(frozen=True)
class RemovalResult(Result):
    """What a removal dropped, or with `dry_run` would drop: the view, and `versions` with tables of `bytes` in all.

    `dependents` are other people's objects, which a removal does not drop and which keep the model from being removed.
    `api_keys` are the names of API keys that name the model; they stay. `spec_file` is the spec if it is still there:
    the next run of it would make the model again.
    """

    model: str
    dry_run: bool
    versions: tuple[int, ...]
    bytes: int
    dependents: tuple[str, ...]
    api_keys: tuple[str, ...]
    spec_file: str | None

    @classmethod
    def from_belongings(cls, belongings: Belongings, files: ProjectFiles, *, dry_run: bool) -> Self:
        """Return what the removal of a model's belongings drops, with the spec of it that the project's files have."""
        model = belongings.model
        existing = [row["version"] for row in belongings.versions if row["state"] not in ("failed", "retired")]
        return cls(
            model=model,
            dry_run=dry_run,
            versions=tuple(sorted(existing)),
            bytes=belongings.bytes,
            dependents=tuple(belongings.dependents),
            api_keys=tuple(belongings.api_keys),
            spec_file=f"specs/{model}.toml" if model in files.models() else None,
        )


def _listed(versions: Sequence[int]) -> str | None:
    return ", ".join(map(str, versions)) or None
