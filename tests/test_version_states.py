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
from prescore import retirement, versions
from prescore.contract.catalog import Catalog
from prescore.contract.database import Connection
from prescore.contract.errors import NotAllowed
from prescore.contract.spec import Retention
from prescore.steps import publish
from prescore.store import Store

_models = itertools.count()
RETENTION = Retention.model_validate({"versions": 2, "grace": "0s", "candidates": "0s"})
Numbers = st.integers(1, 8)


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

    def state(self, version: int) -> str | None:
        """What a version is now."""
        return next((v["state"] for v in self.catalog.versions(self.model) if v["version"] == version), None)

    @precondition(lambda self: len(self.catalog.versions(self.model)) < 8)
    @rule()
    def build(self) -> None:
        """A run begins a version, with a row."""
        spec = spec_of(self.model, {"k": "bigint"}, {"score": "real"}, {}, {})
        made_of = dict.fromkeys(("model_fingerprint", "domain_fingerprint", "spec_fingerprint"), self.model)
        number = versions.create(self.connection, spec, made_of)
        self.connection.execute(f"insert into prescore_versions.{self.model}_v{number} values (1, {number})".encode())

    @rule(version=Numbers)
    def stage(self, version: int) -> None:
        """Its table is finished."""
        if self.state(version) == "building":
            self.catalog.execute("versions_stage", model=self.model, version=version)

    @rule(version=Numbers, passes=st.booleans())
    def check(self, version: int, passes: bool) -> None:
        """Its checks speak."""
        said: dict[str, Any] = {
            "state": "checked" if passes else "refused",
            "checks": Jsonb([]),
            "checks_fingerprint": "",
        }
        if self.catalog.execute("versions_check", model=self.model, version=version, **said):
            (self.passed.add if passes else self.passed.discard)(version)

    @rule(version=Numbers)
    def fail(self, version: int) -> None:
        """Its run gives up."""
        if self.state(version):
            versions.fail(self.connection, self.catalog.version(self.model, version), "no good")

    @rule(version=Numbers)
    def publish(self, version: int) -> None:
        """Somebody publishes it."""
        held = self.catalog.model(self.model)["held_at"] is not None
        may = self.state(version) in ("checked", "superseded") and not held
        if self.state(version):
            self.attempt(may, lambda: publish.publish(self.connection, self.model, version, publish.Terms(older=True)))

    @rule(version=st.none() | Numbers)
    def roll_back(self, version: int | None) -> None:
        """Somebody goes back; whether there is anywhere to go is the catalog's business."""
        if version is None or self.state(version):
            with suppress(NotAllowed):
                publish.rollback(self.connection, self.model, version)
                assert self.catalog.model(self.model)["held_at"] is not None

    @rule()
    def hold(self) -> None:
        """The owner stops publications."""
        publish.hold(self.connection, self.model, "wait")

    @rule()
    def release(self) -> None:
        """The owner lets them through again."""
        self.attempt(
            self.catalog.model(self.model)["held_at"] is not None,
            lambda: publish.release(self.connection, self.model),
        )

    @rule(version=Numbers, pinned=st.booleans())
    def pin(self, version: int, pinned: bool) -> None:
        """Somebody wants it kept, or no longer."""
        if self.state(version):
            with suppress(NotAllowed):
                (retirement.pin if pinned else retirement.unpin)(self.connection, self.model, version)

    @rule()
    def retire(self) -> None:
        """What is no longer asked for goes."""
        before = {v["version"]: v for v in self.catalog.versions(self.model)}
        for gone in retirement.retire(self.connection, self.store, self.model, RETENTION):
            was = before[gone["version"]]
            assert was["state"] in ("superseded", "checked", "refused")
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
        run_state_machine_as_test(machine, settings=settings(deadline=None, max_examples=60, stateful_step_count=40))
