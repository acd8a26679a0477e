"""Versions whose columns break readers: found out before anything is scored, published only if it was said."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from fix_project import SPEC, Sandbox, linear
from prescore.catalog.database import Connection
from prescore.errors import Busy, NotAllowed
from prescore.versions import pointer
from prescore.versions.options import PublishOptions

TWO_KEYS = SPEC.replace('customer = "bigint"', 'customer = "bigint"\nshop = "text"')
WITH_SHOP = SPEC.replace("[onnx]", '[passthrough]\nshop = "text"\n[onnx]')
CHANCE = SPEC.replace("score = {", "chance = {").replace('column = "score"', 'column = "chance"')
WIDER = SPEC.replace('type = "real"', 'type = "double precision"')
BREAKING = PublishOptions(allow_breaking=True, allow_older=True)
COLUMNS = """
select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns
where table_schema = 'predictions' and table_name = 'churn' and column_name not in ('data_as_of', 'published_at')
"""


@pytest.fixture
def shop(sandbox: Sandbox) -> Sandbox:
    """Customers of shops."""
    sandbox.query("select customer, 'main' as shop, visits, spend from read_parquet('data/customers.parquet')")
    return sandbox


@pytest.fixture
def two(sandbox: Sandbox) -> Sandbox:
    """Version 1 is published and has a score; version 2 passed its checks and has a chance."""
    assert sandbox.cli("run", "churn").code == 0
    sandbox.spec(CHANCE)
    done = sandbox.cli("run", "churn", "--no-publish")
    assert done.code == 0, done.err
    return sandbox


@pytest.fixture
def analyst(connection: Connection) -> Iterator[str]:
    """A role that owns nothing."""
    connection.execute("drop role if exists churn_analyst")
    connection.execute("create role churn_analyst")
    yield "churn_analyst"
    connection.execute("reset role")
    connection.execute("drop owned by churn_analyst")
    connection.execute("drop role churn_analyst")


def _seen(sandbox: Sandbox) -> tuple[int, int, str]:
    """Which version readers see, how many rows of it, and its columns."""
    (version, rows), (columns,) = (
        *sandbox.rows("select max(version), count(*) from predictions.churn having min(version) = max(version)"),
        *sandbox.rows(COLUMNS),
    )
    return version, rows, columns


FIRST, SECOND = (1, 1000, "customer version score"), (2, 1000, "customer version chance")


@pytest.mark.parametrize(
    ("was", "would", "told"),
    [
        (SPEC, CHANCE, "score would go"),
        (SPEC, WIDER, "score was real and would become double precision"),
        (SPEC, SPEC.replace('"bigint"', '"integer"'), "customer was bigint and would become integer"),
        (SPEC, TWO_KEYS, "shop would become part of the key"),
        (WITH_SHOP, TWO_KEYS, "shop would become part of the key"),
        (TWO_KEYS, SPEC, "shop would go"),
        (TWO_KEYS, WITH_SHOP, "shop would no longer be part of the key"),
        (
            TWO_KEYS,
            TWO_KEYS.replace('customer = "bigint"\nshop = "text"', 'shop = "text"\ncustomer = "bigint"'),
            "the key would be shop, customer and no longer customer, shop",
        ),
    ],
    ids=["gone", "type", "key type", "new key", "passthrough to key", "key gone", "key to passthrough", "order"],
)
def test_columns_that_break_readers_take_two_words(shop: Sandbox, was: str, would: str, told: str) -> None:
    """Neither a run, before it scores anything, nor a publication lets them through; both do if it was said."""
    shop.spec(was)
    assert shop.cli("run", "churn").code == 0
    shop.spec(would)
    refused = shop.cli("run", "churn")
    assert (refused.code, told in refused.err) == (2, True), refused.err
    assert "`prescore run churn --allow-breaking`" in refused.err
    assert shop.rows("select count(*) from prescore.versions") == [(1,)]
    assert shop.cli("run", "churn", "--no-publish").code == 0
    refused = shop.cli("publish", "churn", "2")
    assert (refused.code, told in refused.err) == (2, True), refused.err
    assert "`prescore publish churn 2 --allow-breaking`" in refused.err
    assert shop.rows("select distinct version from predictions.churn") == [(1,)]
    done = shop.cli("publish", "churn", "2", "--allow-breaking")
    assert done.code == 0, done.err
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(2, 1000)]
    assert shop.cli("run", "churn", "--full").code == 0
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(3, 1000)]
    assert shop.cli("rollback", "churn", "--to", "1").code == 0
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]


def test_a_run_breaks_readers_if_it_was_said(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.spec(CHANCE)
    done = sandbox.cli("run", "churn", "--allow-breaking")
    assert done.code == 0, done.err
    assert _seen(sandbox) == SECOND
    assert sandbox.rows("select model, parent_name from prescore.models") == [("churn", "churn_V2")]
    assert sandbox.cli("lookup", "churn", "7").code == 0


def test_nothing_is_asked_of_a_run_that_publishes_nothing(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", "a holiday")
    sandbox.spec(CHANCE)
    assert sandbox.cli("run", "churn").code == 0
    assert _seen(sandbox) == FIRST


def test_what_was_never_published_breaks_nobody(sandbox: Sandbox, connection: Connection) -> None:
    """A first publication that got as far as the view, and no further."""
    sandbox.cli("run", "churn")
    connection.execute("truncate prescore.publications; update prescore.models set published_version = null")
    connection.execute("update prescore.versions set state = 'checked', published_at = null")
    sandbox.spec(WIDER)
    done = sandbox.cli("run", "churn")
    assert done.code == 0, done.err
    assert _seen(sandbox) == (2, 1000, "customer version score")


def test_rolling_back_brings_the_columns_back(two: Sandbox, connection: Connection) -> None:
    pointer.publish(connection, "churn", 2, BREAKING)
    back = two.cli("rollback", "churn")
    assert back.code == 0, back.err
    assert _seen(two) == FIRST
    assert two.rows("select parent_name from prescore.models") == [(None,)]
    two.cli("release", "churn")
    assert two.cli("publish", "churn", "2").code == 2
    assert two.cli("publish", "churn", "2", "--allow-breaking").code == 0
    assert _seen(two) == SECOND


def test_whoever_could_read_still_can(two: Sandbox, connection: Connection, analyst: str) -> None:
    connection.execute(f"grant usage on schema predictions to {analyst}".encode())
    connection.execute(f"grant select on predictions.churn to {analyst} with grant option".encode())
    connection.execute("grant select on predictions.churn to public")
    before = two.rows("select relacl::text from pg_class where oid = 'predictions.churn'::regclass")
    pointer.publish(connection, "churn", 2, BREAKING)
    assert two.rows("select relacl::text from pg_class where oid = 'predictions.churn'::regclass") == before
    comments = (
        "select obj_description('predictions.churn'::regclass), col_description('predictions.churn'::regclass, 5)"
    )
    assert two.rows(comments) == [("Chance that a customer leaves.", "from 0 to 1")]
    connection.execute(f"set role {analyst}".encode())
    assert connection.execute("select count(chance) from predictions.churn").fetchone() == {"count": 1000}


def test_roles_of_the_spec_may_read_it(two: Sandbox, connection: Connection, analyst: str) -> None:
    two.edit("[retention]", f'[grants]\nselect = ["{analyst}"]\n[retention]')
    assert two.cli("publish", "churn", "2", "--allow-breaking").code == 0
    connection.execute(f"set role {analyst}".encode())
    assert connection.execute("select count(chance) from predictions.churn").fetchone() == {"count": 1000}


def test_views_of_ones_own_are_in_the_way(two: Sandbox, connection: Connection) -> None:
    connection.execute("create view public.best as select customer from predictions.churn where score > 0.5")
    refused = two.cli("publish", "churn", "2", "--allow-breaking")
    assert (refused.code, "view best depends on view predictions.churn" in refused.err) == (2, True), refused.err
    assert _seen(two) == FIRST
    assert two.rows("select state, to_publish from prescore.versions where version = 2") == [("checked", False)]
    two.spec(SPEC)
    two.onnx(linear([1.0, -0.5], 0.3))
    # What is left of the attempt is in nobody's way.
    assert two.cli("run", "churn").code == 0
    assert _seen(two) == (3, 1000, "customer version score")
    connection.execute("drop view public.best")
    pointer.publish(connection, "churn", 2, BREAKING)
    assert _seen(two) == SECOND


def test_several_models_break_together_or_not_at_all(two: Sandbox, connection: Connection) -> None:
    two.spec(SPEC.replace("score = {", "lift = {").replace('column = "score"', 'column = "lift"'), "upsell")
    two.query("select customer, visits, spend from read_parquet('data/customers.parquet')", "upsell")
    assert two.cli("run", "upsell").code == 0
    two.spec(SPEC, "upsell")
    assert two.cli("run", "upsell", "--no-publish").code == 0
    connection.execute("create view public.best as select lift from predictions.upsell")
    assert two.cli("publish", "churn", "2", "upsell", "2", "--allow-breaking").code == 2
    assert two.rows("select model, version from predictions.freshness order by 1") == [("churn", 1), ("upsell", 1)]
    assert _seen(two) == FIRST
    connection.execute("drop view public.best")
    assert two.cli("publish", "churn", "2", "upsell", "2", "--allow-breaking").code == 0
    assert two.rows("select model, version from predictions.freshness order by 1") == [("churn", 2), ("upsell", 2)]
    assert _seen(two) == SECOND


def test_a_transaction_from_before_is_waited_for(two: Sandbox, connection: Connection) -> None:
    """Whether it has read the model or not: it would look for the old version under the new parent."""
    with two.database.connect() as reader, reader.transaction():
        reader.execute("select 1")
        with pytest.raises(Busy, match=f"sessions {reader.info.backend_pid}"):
            pointer.publish(connection, "churn", 2, BREAKING)
        assert reader.execute("select version, count(score) from predictions.churn group by 1").fetchall() == [
            {"version": 1, "count": 1000}
        ]
    assert _seen(two) == FIRST
    assert two.cli("publish", "churn", "2", "--allow-breaking").code == 0
    assert _seen(two) == SECOND


def _attached_long_ago(sandbox: Sandbox, connection: Connection) -> None:
    """As after an attempt to publish version 2 that came as far as the attachment."""
    connection.execute("create view public.best as select score from predictions.churn")
    assert sandbox.cli("publish", "churn", "2", "--allow-breaking").code == 2
    connection.execute("drop view public.best")
    connection.execute("update prescore.versions set attached_at = now() - interval '1 hour'")


def test_a_reader_in_the_middle_of_its_transaction_is_waited_for(two: Sandbox, connection: Connection) -> None:
    _attached_long_ago(two, connection)
    with two.database.connect() as reader, reader.transaction():
        reader.execute("select count(*) from predictions.churn")
        with pytest.raises(Busy, match="Something holds a lock on churn's tables"):
            pointer.publish(connection, "churn", 2, BREAKING)
        reader.execute("select count(score) from predictions.churn")
    assert _seen(two) == FIRST


def test_a_snapshot_from_before_is_told_and_given_no_empty_table(two: Sandbox, connection: Connection) -> None:
    """It began after the attachment and first reads the model after the publication."""
    _attached_long_ago(two, connection)
    with two.database.connect() as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select 1")
        pointer.publish(connection, "churn", 2, BREAKING)
        with pytest.raises(pg.SerializationFailure, match=r"the columns of predictions\.churn changed"):
            reader.execute("select count(*) from predictions.churn")
        reader.execute("rollback")
        assert reader.execute("select count(*) from predictions.churn").fetchone() == {"count": 1000}


def test_no_statement_falls_between_two_parents(two: Sandbox, connection: Connection) -> None:
    done, seen, counted = threading.Event(), set(), set[tuple[int, int]]()

    def read() -> None:
        with psycopg.connect(two.database.url, autocommit=True) as reader:
            while not done.is_set():
                cursor = reader.execute("select * from predictions.churn", prepare=False)
                columns = [column.name for column in cursor.description or []]
                rows = cursor.fetchall()
                seen.add((*{row[1] for row in rows}, len(rows), columns[4]))
                counted.update(reader.execute("select version, count(*) from predictions.churn group by version"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for version in (2, 1) * 10:
            pointer.publish(connection, "churn", version, BREAKING)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert (seen, counted) == ({(1, 1000, "score"), (2, 1000, "chance")}, {(1, 1000), (2, 1000)})


def test_a_parent_goes_with_its_last_version(two: Sandbox, connection: Connection) -> None:
    pointer.publish(connection, "churn", 2, BREAKING)
    two.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert "Retired: 1" in two.cli("retire", "churn").out
    tables = (
        "select relname from pg_class where relnamespace = 'prescore_versions'::regnamespace and relkind in ('r', 'p')"
    )
    assert sorted(two.rows(tables)) == [("churn_V2",), ("churn_v2",)]
    two.onnx(linear([1.0, -0.5], 0.3))
    assert two.cli("run", "churn").code == 0
    assert _seen(two) == (3, 1000, "customer version chance")
    assert two.rows("select parent_name from prescore.models") == [("churn_V2",)]


def test_what_is_left_of_an_attempt_goes_with_its_version(two: Sandbox, connection: Connection) -> None:
    _attached_long_ago(two, connection)
    two.edit("versions = 3", 'versions = 1\ncandidates = "0s"')
    two.onnx(linear([1.0, -0.5], 0.3))
    assert two.cli("run", "churn", "--no-publish").code == 0
    assert "Retired: 2" in two.cli("retire", "churn").out
    assert two.rows("select count(*) from pg_class where relname in ('churn_V2', 'churn_v2')") == [(0,)]
    assert _seen(two) == FIRST


def test_a_new_output_still_breaks_nobody(two: Sandbox, connection: Connection) -> None:
    pointer.publish(connection, "churn", 2, BREAKING)
    two.edit("[[checks]]", 'again = { from = "score", type = "real" }\n[[checks]]')
    assert two.cli("run", "churn").code == 0
    assert _seen(two) == (3, 1000, "customer version chance again")
    with pytest.raises(NotAllowed, match="again would go; chance would go"):
        pointer.publish(connection, "churn", 1, PublishOptions(allow_older=True))
