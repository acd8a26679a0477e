"""The states of a version as a state machine: in any order of events, at most one is published, and it was checked."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from fix_api import Shelf, spec_of
from fix_soak import SOAK
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import canary, hold, lifecycle, pins, pointer, retirement
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback

EXAMPLES = 80 if SOAK else 25

_models = itertools.count()
RETENTION = Retention.model_validate({"versions": 2, "grace": "0s", "candidates": "0s"})
Numbers = st.integers(0, 7)


class Versions(RuleBasedStateMachine):
    """One model, and all that its operators and its runs can do to it. Exactly what the state forbids is refused."""

    connection: Connection
    store: Store

    @initialize()
    def begin(self) -> None:
        """Register a new model."""
        self.model = f"m{next(_models)}"
        self.catalog = Catalog(self.connection)
        self.catalog.execute("models_register", model=self.model, description="")
        self.passed: set[int] = set()

    def pick(self, number: int) -> Version | None:
        """Return one of the existing versions, if there are any."""
        versions = self.catalog.versions(self.model)
        return versions[number % len(versions)] if versions else None

    @precondition(lambda self: len(self.catalog.versions(self.model)) < 8)
    @rule(outcome=st.sampled_from(["checked", "checked", "checked", "refused", "staged", "building", "failed"]))
    def run(self, outcome: str) -> None:
        """Make a version with one row, in a run that ends in this state."""
        spec = spec_of(self.model, {"k": "bigint"}, {"score": "real"}, {}, {})
        names = ("model_fingerprint", "domain_fingerprint", "spec_fingerprint", "runtime")
        made_of = {**dict.fromkeys(names, self.model), "chunk_rows": None}
        number = lifecycle.create(self.connection, spec, made_of)
        self.connection.execute(f"insert into prescore_versions.{self.model}_v{number} values (1, {number})".encode())
        if outcome in ("checked", "refused", "staged"):
            self.catalog.execute("versions_stage", model=self.model, version=number, stored=None, kept=0)
        if outcome in ("checked", "refused"):
            self.check(number, outcome)
        if outcome == "failed":
            lifecycle.mark_failed(self.connection, self.catalog.version(self.model, number), "no good")

    @rule(number=Numbers, outcome=st.sampled_from(["checked", "refused"]))
    def check_again(self, number: int, outcome: str) -> None:
        """Check any version again."""
        if version := self.pick(number):
            self.check(version["version"], outcome)

    def check(self, version: int, outcome: str) -> None:
        """Record a result of the checks, where the state allows one."""
        result: dict[str, Any] = {
            "state": outcome,
            "checks": Jsonb([]),
            "checks_fingerprint": "",
            "comparison": None,
            "withhold": False,
        }
        if self.catalog.execute("versions_check", model=self.model, version=version, **result):
            (self.passed.add if outcome == "checked" else self.passed.discard)(version)

    @rule(number=Numbers)
    def publish(self, number: int) -> None:
        """Publish any version."""
        if version := self.pick(number):
            on_hold = self.catalog.model(self.model)["held_at"] is not None
            allowed = version["state"] in ("checked", "superseded") and not on_hold
            options = PublishOptions(allow_older=True)
            self.attempt(allowed, lambda: pointer.publish(self.connection, self.model, version["version"], options))

    @rule(number=Numbers, share=st.sampled_from([0.0, 0.1]))
    def try_out(self, number: int, share: float) -> None:
        """Make any version the canary."""
        if version := self.pick(number):
            row = self.catalog.model(self.model)
            is_eligible = version["state"] in ("checked", "superseded")
            allowed = is_eligible and row["held_at"] is None and row["published_version"] is not None
            options = PublishOptions(allow_older=True)
            self.attempt(allowed, lambda: canary.start(self.connection, self.model, version["version"], share, options))

    @rule(promoted=st.booleans())
    def end_canary(self, promoted: bool) -> None:
        """Promote or drop the canary."""
        row = self.catalog.model(self.model)
        if promoted:
            allowed = row["canary_version"] is not None and row["held_at"] is None
            options = PublishOptions(allow_older=True)
            self.attempt(allowed, lambda: canary.promote(self.connection, self.model, options))
            assert not allowed or self.catalog.model(self.model)["published_version"] == row["canary_version"]
        else:
            self.attempt(row["canary_version"] is not None, lambda: canary.drop(self.connection, self.model))

    @rule(number=st.none() | Numbers)
    def roll_back(self, number: int | None) -> None:
        """Roll back, if there is a version to roll back to."""
        to = None if number is None else self.pick(number)
        with suppress(NotAllowed):
            rollback(self.connection, self.model, to and to["version"])
            assert self.catalog.model(self.model)["held_at"] is not None

    @rule(likely=st.sampled_from([True, False, False]))
    def hold(self, likely: bool) -> None:
        """Put the model on hold, from time to time."""
        if likely:
            hold.hold(self.connection, self.model, "wait")

    @rule()
    def release(self) -> None:
        """End a hold."""
        self.attempt(
            self.catalog.model(self.model)["held_at"] is not None,
            lambda: hold.release(self.connection, self.model),
        )

    @rule(number=Numbers, pinned=st.booleans())
    def pin(self, number: int, pinned: bool) -> None:
        """Pin or unpin any version."""
        if version := self.pick(number):
            with suppress(NotAllowed):
                change = pins.pin if pinned else pins.unpin
                change(self.connection, self.model, version["version"])

    @rule()
    def retire(self) -> None:
        """Retire the versions that nothing keeps."""
        before = {v["version"]: v for v in self.catalog.versions(self.model)}
        for retired in retirement.retire(self.connection, self.store, self.model, RETENTION):
            was = before[retired["version"]]
            # A failed version has a table if a crash left it behind.
            assert was["state"] in ("superseded", "checked", "refused", "failed")
            assert was["pinned_at"] is None

    def attempt(self, allowed: bool, action: Any) -> None:
        """Perform an action that is allowed; expect NotAllowed for one that is not."""
        if allowed:
            action()
        else:
            with suppress(NotAllowed):
                action()
                raise AssertionError("that should have been refused")

    @invariant()
    def one_published_and_checked(self) -> None:
        """Pointer, states and view agree on a version that has passed its checks."""
        if not hasattr(self, "model"):
            return
        shown = [v["version"] for v in self.catalog.versions(self.model) if v["state"] == "published"]
        pointer = self.catalog.model(self.model)["published_version"]
        assert shown == ([] if pointer is None else [pointer])
        assert set(shown) <= self.passed
        if pointer is not None:
            row = self.connection.execute(f"select version, score from predictions.{self.model}".encode()).fetchall()
            assert row == [{"version": pointer, "score": pointer}]

    @invariant()
    def the_canary_was_checked_and_has_its_table(self) -> None:
        """The canary is another version than the published one, and its view shows it, or nothing without one."""
        if (
            not hasattr(self, "model")
            or not self.connection.execute(
                "select from pg_views where schemaname = 'predictions' and viewname = %s", (f"{self.model}_canary",)
            ).fetchone()
        ):
            return
        number = self.catalog.model(self.model)["canary_version"]
        rows = self.connection.execute(
            f"select version, score from predictions.{self.model}_canary".encode()
        ).fetchall()
        assert rows == ([] if number is None else [{"version": number, "score": number}])
        assert number is None or self.catalog.version(self.model, number)["state"] in ("checked", "superseded")
        assert {number} <= self.passed | {None}


def test_no_order_of_events_publishes_two_versions_or_an_unchecked_one(shelf: Shelf, tmp_path: Path) -> None:
    with shelf.database.connect() as connection:
        machine = type("Machine", (Versions,), {"connection": connection, "store": Store(tmp_path)})
        run_state_machine_as_test(
            machine, settings=settings(deadline=None, max_examples=EXAMPLES, stateful_step_count=50)
        )
