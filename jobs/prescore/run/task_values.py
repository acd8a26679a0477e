"""The arguments and results of the tasks of a scheduled run: plain values that fit into JSON."""

from __future__ import annotations

from typing import TypedDict


class Request(TypedDict):
    """What a run is to do, as `RunOptions`, with times as text.

    `due` is the time that the scheduler planned the run for. It counts only if the domain query uses `$as_of`. With
    `approval`, a person must approve the version before `publish` publishes it.
    """

    publish: bool
    approval: bool
    full: bool
    trial_rows: int | None
    as_of: str | None
    due: str | None


class Work(TypedDict):
    """The version that a run works on, and the fencing token of the run's lease."""

    version: int
    token: int


class Checked(Work):
    """The same after the check step, with the version that was served then: 0 for none.

    With `warnings`, a check requires a person's approval even if the request does not.
    """

    served: int
    warnings: bool


class Share(Work):
    """The chunks of one score task: from `first` up to, but not including, `end`."""

    first: int
    end: int


class Question(TypedDict):
    """What a person is to approve: a title, the review of the version as Markdown, and its number."""

    subject: str
    body: str
    version: int


class Approval(TypedDict):
    """The version that a person approved, and that person's name."""

    version: int
    user: str


class Publication(TypedDict):
    """A published version, with times as text; `withheld` says why the version was not published, if it was not."""

    version: int
    rows: int
    data_as_of: str
    published_at: str
    withheld: str | None
