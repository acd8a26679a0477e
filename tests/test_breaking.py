"""Versions whose columns break readers: refused before anything is scored, and published only with --allow-breaking."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from fix_project import SPEC, Sandbox, linear
from prescore.catalog.catalog import Column
from prescore.catalog.database import Connection
from prescore.errors import Busy, NotAllowed
from prescore.versions import compatibility, pointer
from prescore.versions.compatibility import ColumnChange
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
    """A project whose customers have a shop."""
    sandbox.query("select customer, 'main' as shop, visits, spend from read_parquet('data/customers.parquet')")
    return sandbox


@pytest.fixture
def two(sandbox: Sandbox) -> Sandbox:
    """A project in which version 1 is published and has a score; version 2 passed its checks and has a chance."""
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
    """Return the version that readers see, its number of rows, and its columns."""
    (version, rows), (columns,) = (
        *sandbox.rows("select max(version), count(*) from predictions.churn having min(version) = max(version)"),
        *sandbox.rows(COLUMNS),
    )
    return version, rows, columns


FIRST, SECOND = (1, 1000, "customer version score"), (2, 1000, "customer version chance")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (SPEC, CHANCE, "score is removed"),
        (SPEC, WIDER, "score changes from real to double precision"),
        (SPEC, SPEC.replace('"bigint"', '"integer"'), "customer changes from bigint to integer"),
        (SPEC, TWO_KEYS, "shop becomes part of the key"),
        (WITH_SHOP, TWO_KEYS, "shop becomes part of the key"),
        (TWO_KEYS, SPEC, "shop is removed"),
        (TWO_KEYS, WITH_SHOP, "shop is no longer part of the key"),
        (
            TWO_KEYS,
            TWO_KEYS.replace('customer = "bigint"\nshop = "text"', 'shop = "text"\ncustomer = "bigint"'),
            "the key columns change from customer, shop to shop, customer",
        ),
    ],
    ids=["removed", "type", "key type", "new key", "passthrough to key", "key removed", "key to passthrough", "order"],
)
def test_columns_that_break_readers_need_allow_breaking(shop: Sandbox, before: str, after: str, message: str) -> None:
    """A run refuses them before it scores anything, and so does a publication. Both accept them when allowed to."""
    shop.spec(before)
    assert shop.cli("run", "churn").code == 0
    shop.spec(after)
    refused = shop.cli("run", "churn")
    assert (refused.code, message in refused.err) == (2, True), refused.err
    assert "`prescore run churn --allow-breaking`" in refused.err
    assert shop.rows("select count(*) from prescore.versions") == [(1,)]
    assert shop.cli("run", "churn", "--no-publish").code == 0
    refused = shop.cli("publish", "churn", "2")
    assert (refused.code, message in refused.err) == (2, True), refused.err
    assert "`prescore publish churn 2 --allow-breaking`" in refused.err
    assert shop.rows("select distinct version from predictions.churn") == [(1,)]
    done = shop.cli("publish", "churn", "2", "--allow-breaking")
    assert done.code == 0, done.err
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(2, 1000)]
    assert shop.cli("run", "churn", "--full").code == 0
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(3, 1000)]
    assert shop.cli("rollback", "churn", "--to", "1").code == 0
    assert shop.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]


def _change(
    before: dict[str, str], after: dict[str, str], key: tuple[str, str] = ("a", "a"), published: str = "a b c"
) -> ColumnChange:
    """Return a change of columns; both keys and the published columns are names with spaces between them."""
    key_before, key_after = (names.split() for names in key)
    return ColumnChange(before, after, key_before, key_after, frozenset(published.split()))


BIGINTS = {"a": "bigint", "b": "bigint"}


def test_a_changed_type_breaks_readers() -> None:
    change = _change(BIGINTS, {"a": "bigint", "b": "integer"})
    assert compatibility.changed_types(change) == ["b changes from bigint to integer"]
    assert compatibility.changed_types(_change(BIGINTS, BIGINTS | {"c": "text"})) == []


def test_a_removed_column_breaks_readers_if_it_was_published() -> None:
    after = {"a": "bigint"}
    assert compatibility.removed_columns(_change(BIGINTS, after)) == ["b is removed"]
    assert compatibility.removed_columns(_change(BIGINTS, after, published="a")) == []
    assert compatibility.removed_columns(_change(BIGINTS, BIGINTS | {"c": "text"})) == []


def test_a_column_that_joins_the_key_breaks_readers() -> None:
    change = _change(BIGINTS, BIGINTS, key=("a", "a b"))
    assert compatibility.columns_joining_the_key(change) == ["b becomes part of the key"]
    assert compatibility.columns_joining_the_key(_change(BIGINTS, BIGINTS)) == []


def test_a_column_that_leaves_the_key_breaks_readers_if_it_stays() -> None:
    change = _change(BIGINTS, BIGINTS, key=("a b", "a"))
    assert compatibility.columns_leaving_the_key(change) == ["b is no longer part of the key"]
    # A column that disappears is reported as removed.
    assert compatibility.columns_leaving_the_key(_change(BIGINTS, {"a": "bigint"}, key=("a b", "a"))) == []


def test_another_order_of_the_key_breaks_readers() -> None:
    change = _change(BIGINTS, BIGINTS, key=("a b", "b a"))
    assert compatibility.reordered_key(change) == ["the key columns change from a, b to b, a"]
    # A new column between them changes the order of none.
    after = BIGINTS | {"c": "text"}
    assert compatibility.reordered_key(_change(BIGINTS, after, key=("a b", "a c b"))) == []


def test_every_rule_on_columns_is_applied(sandbox: Sandbox, connection: Connection) -> None:
    assert compatibility.breaking_changes(connection, "churn", [], []) == []
    assert sandbox.cli("run", "churn").code == 0
    spec = sandbox.job().spec
    assert compatibility.breaking_changes(connection, "churn", spec.key_columns, spec.output_columns) == []
    score = Column(name="score", type="text", comment="", role="key")
    assert compatibility.breaking_changes(connection, "churn", [score], []) == [
        "score changes from real to text",
        "customer is removed",
        "score becomes part of the key",
    ]


def test_a_run_with_allow_breaking_publishes_columns_that_break_readers(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.spec(CHANCE)
    done = sandbox.cli("run", "churn", "--allow-breaking")
    assert done.code == 0, done.err
    assert _seen(sandbox) == SECOND
    assert sandbox.rows("select model, parent_name from prescore.models") == [("churn", "churn_V2")]
    assert sandbox.cli("lookup", "churn", "7").code == 0


def test_a_run_of_a_model_on_hold_may_change_the_columns(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.cli("hold", "churn", "--reason", "a holiday")
    sandbox.spec(CHANCE)
    assert sandbox.cli("run", "churn").code == 0
    assert _seen(sandbox) == FIRST


def test_a_version_that_was_never_published_may_be_replaced_by_one_with_other_columns(
    sandbox: Sandbox, connection: Connection
) -> None:
    """As after a first publication that was interrupted once the view had been created."""
    sandbox.cli("run", "churn")
    connection.execute("truncate prescore.publications; update prescore.models set published_version = null")
    connection.execute("update prescore.versions set state = 'checked', published_at = null")
    sandbox.spec(WIDER)
    done = sandbox.cli("run", "churn")
    assert done.code == 0, done.err
    assert _seen(sandbox) == (2, 1000, "customer version score")


def test_a_rollback_restores_the_columns(two: Sandbox, connection: Connection) -> None:
    pointer.publish(connection, "churn", 2, BREAKING)
    back = two.cli("rollback", "churn")
    assert back.code == 0, back.err
    assert _seen(two) == FIRST
    assert two.rows("select parent_name from prescore.models") == [(None,)]
    two.cli("release", "churn")
    assert two.cli("publish", "churn", "2").code == 2
    assert two.cli("publish", "churn", "2", "--allow-breaking").code == 0
    assert _seen(two) == SECOND


def test_grants_survive_a_change_of_columns(two: Sandbox, connection: Connection, analyst: str) -> None:
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


def test_roles_in_the_spec_may_read_the_replaced_view(two: Sandbox, connection: Connection, analyst: str) -> None:
    two.edit("[retention]", f'[grants]\nselect = ["{analyst}"]\n[retention]')
    assert two.cli("publish", "churn", "2", "--allow-breaking").code == 0
    connection.execute(f"set role {analyst}".encode())
    assert connection.execute("select count(chance) from predictions.churn").fetchone() == {"count": 1000}


def test_a_dependent_view_prevents_a_change_of_columns(two: Sandbox, connection: Connection) -> None:
    connection.execute("create view public.best as select customer from predictions.churn where score > 0.5")
    refused = two.cli("publish", "churn", "2", "--allow-breaking")
    assert (refused.code, "view best depends on view predictions.churn" in refused.err) == (2, True), refused.err
    assert _seen(two) == FIRST
    assert two.rows("select state, to_publish from prescore.versions where version = 2") == [("checked", False)]
    two.spec(SPEC)
    two.onnx(linear([1.0, -0.5], 0.3))
    # The remains of the attempt do not disturb the next run.
    assert two.cli("run", "churn").code == 0
    assert _seen(two) == (3, 1000, "customer version score")
    connection.execute("drop view public.best")
    pointer.publish(connection, "churn", 2, BREAKING)
    assert _seen(two) == SECOND


def test_several_models_change_columns_together_or_not_at_all(two: Sandbox, connection: Connection) -> None:
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


def test_a_change_of_columns_waits_for_older_transactions(two: Sandbox, connection: Connection) -> None:
    """A transaction would look for the old version under the new parent, whether it has read the model yet or not."""
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


def _attach_long_ago(sandbox: Sandbox, connection: Connection) -> None:
    """Leave version 2 as after an attempt to publish it that got as far as the attachment."""
    connection.execute("create view public.best as select score from predictions.churn")
    assert sandbox.cli("publish", "churn", "2", "--allow-breaking").code == 2
    connection.execute("drop view public.best")
    connection.execute("update prescore.versions set attached_at = now() - interval '1 hour'")


def test_a_change_of_columns_waits_for_a_transaction_that_reads_the_view(two: Sandbox, connection: Connection) -> None:
    _attach_long_ago(two, connection)
    with two.database.connect() as reader, reader.transaction():
        reader.execute("select count(*) from predictions.churn")
        message = f"Another session holds a lock on churn's tables.* held by session {reader.info.backend_pid} "
        with pytest.raises(Busy, match=message), two.database.connect() as publisher:
            pointer.publish(publisher, "churn", 2, BREAKING)
        reader.execute("select count(score) from predictions.churn")
    assert _seen(two) == FIRST


def test_a_snapshot_from_before_raises_instead_of_showing_an_empty_table(two: Sandbox, connection: Connection) -> None:
    """The transaction began after the attachment, and first reads the model after the publication."""
    _attach_long_ago(two, connection)
    with two.database.connect() as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select 1")
        pointer.publish(connection, "churn", 2, BREAKING)
        with pytest.raises(pg.SerializationFailure, match=r"the columns of predictions\.churn changed"):
            reader.execute("select count(*) from predictions.churn")
        reader.execute("rollback")
        assert reader.execute("select count(*) from predictions.churn").fetchone() == {"count": 1000}


def test_every_statement_sees_one_parent(two: Sandbox, connection: Connection) -> None:
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


def test_a_parent_is_dropped_with_its_last_version(two: Sandbox, connection: Connection) -> None:
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


def test_the_parent_of_an_interrupted_attempt_is_dropped_with_its_version(two: Sandbox, connection: Connection) -> None:
    _attach_long_ago(two, connection)
    two.edit("versions = 3", 'versions = 1\ncandidates = "0s"')
    two.onnx(linear([1.0, -0.5], 0.3))
    assert two.cli("run", "churn", "--no-publish").code == 0
    assert "Retired: 2" in two.cli("retire", "churn").out
    assert two.rows("select count(*) from pg_class where relname in ('churn_V2', 'churn_v2')") == [(0,)]
    assert _seen(two) == FIRST


def test_a_new_output_after_a_change_of_columns_breaks_no_readers(two: Sandbox, connection: Connection) -> None:
    pointer.publish(connection, "churn", 2, BREAKING)
    two.edit("[[checks]]", 'again = { from = "score", type = "real" }\n[[checks]]')
    assert two.cli("run", "churn").code == 0
    assert _seen(two) == (3, 1000, "customer version chance again")
    with pytest.raises(NotAllowed, match="again is removed; chance is removed"):
        pointer.publish(connection, "churn", 1, PublishOptions(allow_older=True))
