"""The states of a version as a machine: whatever is asked in whatever order, at most one is published, and checked."""

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
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import hold, lifecycle, pointer, retention
from prescore.versions.options import PublishOptions
from prescore.versions.rollback import rollback

_models = itertools.count()
RETENTION = Retention.model_validate({"versions": 2, "grace": "0s", "candidates": "0s"})
Numbers = st.integers(0, 7)


class Versions(RuleBasedStateMachine):
    """One model, with all that its owner and its runs may do to it. What the state forbids is refused, and no more."""

    connection: Connection
    store: Store

    @initialize()
    def begin(self) -> None:
        """A new model."""
        self.model = f"m{next(_models)}"
        self.catalog = Catalog(self.connection)
        self.catalog.execute("models_register", model=self.model, description="")
        self.passed: set[int] = set()

    def pick(self, number: int) -> Version | None:
        """One of the versions that there are."""
        known = self.catalog.versions(self.model)
        return known[number % len(known)] if known else None

    @precondition(lambda self: len(self.catalog.versions(self.model)) < 8)
    @rule(outcome=st.sampled_from(["checked", "checked", "checked", "refused", "staged", "building", "failed"]))
    def run(self, outcome: str) -> None:
        """A run makes a version, with a row, and comes as far as that."""
        spec = spec_of(self.model, {"k": "bigint"}, {"score": "real"}, {}, {})
        made_of = dict.fromkeys(("model_fingerprint", "domain_fingerprint", "spec_fingerprint"), self.model)
        number = lifecycle.create(self.connection, spec, made_of)
        self.connection.execute(f"insert into prescore_versions.{self.model}_v{number} values (1, {number})".encode())
        if outcome in ("checked", "refused", "staged"):
            self.catalog.execute("versions_stage", model=self.model, version=number)
        if outcome in ("checked", "refused"):
            self.check(number, outcome)
        if outcome == "failed":
            lifecycle.mark_failed(self.connection, self.catalog.version(self.model, number), "no good")

    @rule(number=Numbers, outcome=st.sampled_from(["checked", "refused"]))
    def check_again(self, number: int, outcome: str) -> None:
        """A check step is asked again, of whichever version."""
        if version := self.pick(number):
            self.check(version["version"], outcome)

    def check(self, version: int, outcome: str) -> None:
        """The checks speak, where they have a say."""
        said: dict[str, Any] = {"state": outcome, "checks": Jsonb([]), "checks_fingerprint": ""}
        if self.catalog.execute("versions_check", model=self.model, version=version, **said):
            (self.passed.add if outcome == "checked" else self.passed.discard)(version)

    @rule(number=Numbers)
    def publish(self, number: int) -> None:
        """Somebody publishes one."""
        if version := self.pick(number):
            held = self.catalog.model(self.model)["held_at"] is not None
            may = version["state"] in ("checked", "superseded") and not held
            terms = PublishOptions(allow_older=True)
            self.attempt(may, lambda: pointer.publish(self.connection, self.model, version["version"], terms))

    @rule(number=st.none() | Numbers)
    def roll_back(self, number: int | None) -> None:
        """Somebody goes back; whether there is anywhere to go is the catalog's business."""
        to = None if number is None else self.pick(number)
        with suppress(NotAllowed):
            rollback(self.connection, self.model, to and to["version"])
            assert self.catalog.model(self.model)["held_at"] is not None

    @rule(likely=st.sampled_from([True, False, False]))
    def hold(self, likely: bool) -> None:
        """The owner stops publications."""
        if likely:
            hold.hold(self.connection, self.model, "wait")

    @rule()
    def release(self) -> None:
        """The owner lets them through again."""
        self.attempt(
            self.catalog.model(self.model)["held_at"] is not None,
            lambda: hold.release(self.connection, self.model),
        )

    @rule(number=Numbers, pinned=st.booleans())
    def pin(self, number: int, pinned: bool) -> None:
        """Somebody wants one kept, or no longer."""
        if version := self.pick(number):
            with suppress(NotAllowed):
                deed = retention.pin if pinned else retention.unpin
                deed(self.connection, self.model, version["version"])

    @rule()
    def retire(self) -> None:
        """What is no longer asked for goes."""
        before = {v["version"]: v for v in self.catalog.versions(self.model)}
        for gone in retention.retire(self.connection, self.store, self.model, RETENTION):
            was = before[gone["version"]]
            # The last: what a crash left of it.
            assert was["state"] in ("superseded", "checked", "refused", "failed")
            assert was["pinned_at"] is None

    def attempt(self, may: bool, deed: Any) -> None:
        """What is allowed is done, what is not is refused."""
        if may:
            deed()
        else:
            with suppress(NotAllowed):
                deed()
                raise AssertionError("that should have been refused")

    @invariant()
    def one_published_and_checked(self) -> None:
        """Pointer, states and view agree, and what they show has passed its checks."""
        if not hasattr(self, "model"):
            return
        shown = [v["version"] for v in self.catalog.versions(self.model) if v["state"] == "published"]
        pointer = self.catalog.model(self.model)["published_version"]
        assert shown == ([] if pointer is None else [pointer])
        assert set(shown) <= self.passed
        if pointer is not None:
            row = self.connection.execute(f"select version, score from predictions.{self.model}".encode()).fetchall()
            assert row == [{"version": pointer, "score": pointer}]


def test_no_order_of_events_publishes_two_versions_or_an_unchecked_one(shelf: Shelf, tmp_path: Path) -> None:
    with shelf.database.connect() as connection:
        machine = type("Machine", (Versions,), {"connection": connection, "store": Store(tmp_path)})
        run_state_machine_as_test(machine, settings=settings(deadline=None, max_examples=80, stateful_step_count=50))
