"""API keys: created, listed and revoked, in the catalog and by command."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import timedelta

import psycopg
import pytest

from fix_project import Sandbox
from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import Mistake, NotFound

TEXT = re.compile(r"psk_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
ID = "0123456789ab"
SECRET = "s" * 43


@pytest.fixture
def catalog(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The catalog as the user anna uses it."""
    monkeypatch.setenv("PRESCORE_ACTOR", "anna")
    return Catalog(connection)


def expire(catalog: Catalog, name: str) -> None:
    """Make a key look as if it was created two days ago and expired a day ago."""
    updated = catalog.connection.execute(
        "update prescore.api_keys set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
        " where name = %s",
        [name],
    )
    assert updated.rowcount == 1


def parts(key: str) -> dict[str, str]:
    """Return the id and the secret of a key's text."""
    match = TEXT.fullmatch(key)
    assert match, key
    return match.groupdict()


# The catalog


def test_only_the_hash_of_a_secret_is_stored(catalog: Catalog) -> None:
    key = parts(api_keys.create(catalog, "shop"))
    row = catalog.connection.execute("select * from prescore.api_keys").fetchone() or {}
    assert (row["id"], row["hash"]) == (key["id"], hashlib.sha256(key["secret"].encode()).digest())
    assert (row["name"], row["models"], row["created_by"], row["expires_at"]) == ("shop", None, "anna", None)
    assert key["secret"] not in str(row)


def test_a_secret_is_256_random_bits(catalog: Catalog) -> None:
    first, second = parts(api_keys.create(catalog, "a")), parts(api_keys.create(catalog, "b"))
    assert first["id"] != second["id"]
    assert first["secret"] != second["secret"]
    for key in (first, second):
        assert len(base64.urlsafe_b64decode(key["secret"] + "=")) == 32


@pytest.mark.parametrize("name", ["shop", "Anna's laptop", "a" * 100, "キー", "0123456789AB", "[bold]"])
def test_a_name_may_be_any_readable_text(catalog: Catalog, name: str) -> None:
    api_keys.create(catalog, name)
    assert [key["name"] for key in api_keys.list_keys(catalog)] == [name]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "1 to 100 printable"),
        (" ", "1 to 100 printable"),
        ("shop ", "without leading or trailing spaces"),
        ("a" * 101, "1 to 100 printable"),
        ("a\nb", "printable"),
        ("a\x00", "printable"),
        ("\x1b[31m", "printable"),
        # What Python makes of an undecodable byte in a command line.
        ("\udcff", "printable"),
        (f"psk_{ID}_{SECRET}", "must not begin with psk_, as keys do"),
        (ID, "must not look like the id of a key"),
    ],
)
def test_other_names_are_refused(catalog: Catalog, name: str, fault: str) -> None:
    with pytest.raises(Mistake, match=fault):
        api_keys.create(catalog, name)
    assert api_keys.list_keys(catalog) == []


def test_a_name_can_be_used_again_once_its_key_is_revoked(catalog: Catalog) -> None:
    api_keys.create(catalog, "my shop")
    with pytest.raises(Mistake, match=r"already exists.* prescore keys revoke 'my shop'$"):
        api_keys.create(catalog, "my shop")
    expire(catalog, "my shop")
    with pytest.raises(Mistake, match="already exists"):
        api_keys.create(catalog, "my shop")
    api_keys.revoke(catalog, "my shop")
    api_keys.create(catalog, "my shop")
    assert [(key["name"], key["state"]) for key in api_keys.list_keys(catalog)] == [
        ("my shop", "valid"),
        ("my shop", "revoked"),
    ]


def test_a_scope_consists_of_valid_model_names(catalog: Catalog) -> None:
    # Neither model exists yet.
    api_keys.create(catalog, "shop", ["upsell", "churn", "upsell"])
    assert api_keys.list_keys(catalog)[0]["models"] == ["churn", "upsell"]
    with pytest.raises(Mistake, match=r"'Churn' is not a valid model name: .*; 'a b' is not a valid model name"):
        api_keys.create(catalog, "mine", ["Churn", "upsell", "a b"])
    with pytest.raises(Mistake, match="needs at least one model"):
        api_keys.create(catalog, "mine", [])
    assert len(api_keys.list_keys(catalog)) == 1


def test_a_key_expires_after_its_lifetime(catalog: Catalog) -> None:
    api_keys.create(catalog, "shop", None, timedelta(days=90))
    key = api_keys.list_keys(catalog)[0]
    assert key["expires_at"] is not None
    # Daylight saving time may begin or end in between.
    assert abs(key["expires_at"] - key["created_at"] - timedelta(days=90)) <= timedelta(hours=1)
    with pytest.raises(Mistake, match="would expire immediately"):
        api_keys.create(catalog, "mine", None, timedelta(0))


def test_the_list_has_every_key_newest_first_and_no_hash(catalog: Catalog) -> None:
    for name in ("valid", "expired", "revoked", "both"):
        api_keys.create(catalog, name)
    for name in ("expired", "both"):
        expire(catalog, name)
    for name in ("revoked", "both"):
        api_keys.revoke(catalog, name)
    listed = api_keys.list_keys(catalog)
    assert [(key["name"], key["state"]) for key in listed[:2]] == [("revoked", "revoked"), ("valid", "valid")]
    assert {key["name"]: key["state"] for key in listed[2:]} == {"expired": "expired", "both": "revoked"}
    assert all(set(key) == set(api_keys.ApiKey.__annotations__) for key in listed)


@pytest.mark.parametrize("reference", ["{name}", "{id}", "{text}", "psk_{id}"])
def test_a_revocation_records_its_user(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    text, other = api_keys.create(catalog, "shop"), api_keys.create(catalog, "other")
    key = parts(text)["id"]
    monkeypatch.setattr(catalog, "actor", "ben")
    name_or_id = reference.format(name="shop", id=key, text=text)
    assert api_keys.revoke(catalog, name_or_id) == {"id": key, "name": "shop"}
    rows = {row["id"]: row for row in api_keys.list_keys(catalog)}
    assert (rows[key]["state"], rows[key]["created_by"], rows[key]["revoked_by"]) == ("revoked", "anna", "ben")
    assert rows[key]["revoked_at"] is not None
    assert rows[parts(other)["id"]]["state"] == "valid"


def test_only_existing_keys_are_revoked_and_only_once(catalog: Catalog) -> None:
    text = api_keys.create(catalog, "shop")
    for unknown in ("shops", "", "%", "a\x00", "\udcff", f"psk_{ID}_{SECRET}"):
        with pytest.raises(NotFound) as raised:
            api_keys.revoke(catalog, unknown)
        assert SECRET not in str(raised.value)
    api_keys.revoke(catalog, "shop")
    before = api_keys.list_keys(catalog)
    for revoked in ("shop", parts(text)["id"]):
        with pytest.raises(NotFound, match="There is no API key"):
            api_keys.revoke(catalog, revoked)
    assert api_keys.list_keys(catalog) == before


@pytest.mark.parametrize("change", ["expires_at = '-infinity'", "revoked_at = now()", "revoked_by = 'x'"])
def test_the_catalog_rejects_inconsistent_rows(catalog: Catalog, change: str) -> None:
    api_keys.create(catalog, "shop")
    with pytest.raises(psycopg.errors.CheckViolation):
        catalog.connection.execute(f"update prescore.api_keys set {change}".encode())


# The commands


def test_the_key_alone_is_on_stdout(sandbox: Sandbox) -> None:
    made = sandbox.cli("keys", "create", "shop", "--model", "churn", "--model", "upsell", "--expires", "90d")
    assert made.code == 0, made.err
    assert TEXT.fullmatch(made.out.removesuffix("\n"))
    assert "shop can read churn, upsell for 90d. It is shown once: only its hash is kept." in made.err
    assert parts(made.out.strip())["secret"] not in made.err
    assert "can read every model. It is shown once" in sandbox.cli("keys", "create", "all").err


def test_the_list_shows_all_but_the_secret(sandbox: Sandbox) -> None:
    assert sandbox.cli("keys", "list").out == "There are no API keys yet: prescore keys create NAME\n"
    assert json.loads(sandbox.cli("keys", "list", "--json").out) == []
    sandbox.monkeypatch.setenv("PRESCORE_ACTOR", "anna")
    text = sandbox.cli("keys", "create", "[shop]", "--model", "churn").out.strip()
    sandbox.cli("keys", "create", "mine", "--expires", "90d")
    listed = sandbox.cli("keys", "list").out
    mine, shop = (re.split(r"  +", line.strip()) for line in listed.splitlines()[1:])
    assert (mine[1:3], mine[4], mine[6]) == (["mine", "every model"], "anna", "valid")
    assert (shop[:3], shop[4:]) == ([parts(text)["id"], "[shop]", "churn"], ["anna", "never", "valid"])
    in_json = sandbox.cli("keys", "list", "--json").out
    assert [set(key) for key in json.loads(in_json)] == [set(api_keys.ApiKey.__annotations__)] * 2
    secret = parts(text)["secret"]
    for output in (listed, in_json):
        assert secret not in output
        assert hashlib.sha256(secret.encode()).hexdigest() not in output


def test_a_key_is_revoked_by_command(sandbox: Sandbox) -> None:
    key = parts(sandbox.cli("keys", "create", "shop").out.strip())["id"]
    result = sandbox.cli("keys", "revoke", key)
    assert (result.code, result.out.startswith(f"shop ({key}) is revoked")) == (0, True), result.err
    assert sandbox.cli("keys", "list").out.splitlines()[1].endswith("revoked")
    again = sandbox.cli("keys", "revoke", "shop")
    assert (again.code, "There is no API key 'shop' to revoke" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop", "--expires", "90 days"], "'90 days' is not a valid duration: it must be a number and a unit"),
        (["shop", "--expires", "0d"], "would expire immediately"),
        (["shop", "--expires", "40000d"], "at most"),
        (["shop", "--model", "no-model"], "'no-model' is not a valid model name"),
        ([""], "a name has 1 to 100"),
    ],
)
def test_a_mistake_creates_no_key(sandbox: Sandbox, arguments: list[str], message: str) -> None:
    result = sandbox.cli("keys", "create", *arguments)
    assert (result.code, result.out, message in result.err) == (2, "", True), result
    assert sandbox.rows("select count(*) from prescore.api_keys") == [(0,)]


def test_keys_need_no_project(sandbox: Sandbox) -> None:
    (sandbox.root / "prescore.toml").unlink()
    for command in ("create shop", "list", "revoke shop"):
        assert sandbox.cli("keys", *command.split()).code == 0
