"""Options of a publication and of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from prescore.project.spec import Spec


@dataclass(frozen=True)
class PublishOptions:
    """What a publication allows and requires.

    `grants` are roles that may read the view. `checks` is the fingerprint of the checks that the version must have
    passed; None accepts any. `allow_older` accepts inputs older than those of the published version, and
    `allow_breaking` accepts columns that break readers. `instead_of` is the version that must still be the published
    one: 0 means that none is, None accepts any. `promotes` requires that the version is the model's canary.
    `reason` is for the history. `command` is what a message says to run again, with another option; None for `prescore
    publish`.
    """

    grants: tuple[str, ...] = ()
    checks: str | None = None
    allow_older: bool = False
    allow_breaking: bool = False
    instead_of: int | None = None
    promotes: bool = False
    reason: str | None = None
    command: str | None = None

    @classmethod
    def from_spec(
        cls,
        spec: Spec,
        *,
        allow_older: bool = False,
        allow_breaking: bool = False,
        instead_of: int | None = None,
    ) -> Self:
        """Return options with the grants and checks of a spec."""
        return cls(spec.grants.select, spec.checks_fingerprint, allow_older, allow_breaking, instead_of)


@dataclass(frozen=True)
class RunOptions:
    """What a run is to do.

    `full` starts from scratch instead of resuming an unfinished version. `allow_breaking` accepts columns that break
    readers. A trial scores a random sample of at most `trial_rows` rows of the domain and is never published. `as_of`
    is the time that the run is for, by default its start; the domain query receives it as `$as_of`.
    """

    publish: bool = True
    full: bool = False
    allow_breaking: bool = False
    trial_rows: int | None = None
    as_of: datetime | None = None

    @property
    def publishes(self) -> bool:
        """Whether the run means to publish its version: a trial never does."""
        return self.publish and self.trial_rows is None

    def resuming(self) -> Self:
        """Return the same options for another attempt, which resumes what the first one began."""
        return replace(self, full=False)


DEFAULTS = RunOptions()
