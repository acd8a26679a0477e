"""API keys: made, listed and revoked, in the catalog and by command."""

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
    """The catalog as anna uses it."""
    monkeypatch.setenv("PRESCORE_ACTOR", "anna")
    return Catalog(connection)


def expire(catalog: Catalog, name: str) -> None:
    """As if a key had been made and had run out a while ago."""
    done = catalog.connection.execute(
        "update prescore.api_keys set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
        " where name = %s",
        [name],
    )
    assert done.rowcount == 1


def parts(key: str) -> dict[str, str]:
    match = TEXT.fullmatch(key)
    assert match, key
    return match.groupdict()


# The catalog


def test_of_a_key_only_the_hash_of_its_secret_is_kept(catalog: Catalog) -> None:
    key = parts(api_keys.create(catalog, "shop"))
    row = catalog.connection.execute("select * from prescore.api_keys").fetchone() or {}
    assert (row["id"], row["hash"]) == (key["id"], hashlib.sha256(key["secret"].encode()).digest())
    assert (row["name"], row["models"], row["created_by"], row["expires_at"]) == ("shop", None, "anna", None)
    assert key["secret"] not in str(row)


def test_a_secret_is_256_random_bits(catalog: Catalog) -> None:
    made = [parts(api_keys.create(catalog, name)) for name in ("a", "b")]
    assert made[0]["id"] != made[1]["id"]
    assert made[0]["secret"] != made[1]["secret"]
    assert all(len(base64.urlsafe_b64decode(key["secret"] + "=")) == 32 for key in made)


@pytest.mark.parametrize("name", ["shop", "Anna's laptop", "a" * 100, "キー", "0123456789AB", "[bold]"])
def test_names_are_what_a_person_can_read(catalog: Catalog, name: str) -> None:
    api_keys.create(catalog, name)
    assert [key["name"] for key in api_keys.list_keys(catalog)] == [name]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "1 to 100 printable"),
        (" ", "1 to 100 printable"),
        ("shop ", "no space before or behind"),
        ("a" * 101, "1 to 100 printable"),
        ("a\nb", "printable"),
        ("a\x00", "printable"),
        ("\x1b[31m", "printable"),
        # A command line's undecodable byte.
        ("\udcff", "printable"),
        (f"psk_{ID}_{SECRET}", "must not begin as the keys themselves do"),
        (ID, "must not look like a key's id"),
    ],
)
def test_other_names_are_refused(catalog: Catalog, name: str, why: str) -> None:
    with pytest.raises(Mistake, match=why):
        api_keys.create(catalog, name)
    assert api_keys.list_keys(catalog) == []


def test_a_name_is_free_again_when_its_key_is_revoked(catalog: Catalog) -> None:
    api_keys.create(catalog, "my shop")
    with pytest.raises(Mistake, match=r"already.* prescore keys revoke 'my shop'$"):
        api_keys.create(catalog, "my shop")
    expire(catalog, "my shop")
    with pytest.raises(Mistake, match="already"):
        api_keys.create(catalog, "my shop")
    api_keys.revoke(catalog, "my shop")
    api_keys.create(catalog, "my shop")
    assert [(key["name"], key["state"]) for key in api_keys.list_keys(catalog)] == [
        ("my shop", "valid"),
        ("my shop", "revoked"),
    ]


def test_a_scope_is_of_names_that_models_can_have(catalog: Catalog) -> None:
    # Neither of which is there yet.
    api_keys.create(catalog, "shop", ["upsell", "churn", "upsell"])
    assert api_keys.list_keys(catalog)[0]["models"] == ["churn", "upsell"]
    with pytest.raises(Mistake, match=r"'Churn' is no model's name: .*; 'a b' is no model's name"):
        api_keys.create(catalog, "mine", ["Churn", "upsell", "a b"])
    with pytest.raises(Mistake, match="opens nothing"):
        api_keys.create(catalog, "mine", [])
    assert len(api_keys.list_keys(catalog)) == 1


def test_a_key_expires_when_it_was_said_to(catalog: Catalog) -> None:
    api_keys.create(catalog, "shop", None, timedelta(days=90))
    made = api_keys.list_keys(catalog)[0]
    assert made["expires_at"] is not None
    # A change of clocks.
    assert abs(made["expires_at"] - made["created_at"] - timedelta(days=90)) <= timedelta(hours=1)
    with pytest.raises(Mistake, match="expired at once"):
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


@pytest.mark.parametrize("named", ["{name}", "{id}", "{text}", "psk_{id}"])
def test_revoking_is_noted_with_who_did_it(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    text, other = api_keys.create(catalog, "shop"), api_keys.create(catalog, "other")
    key = parts(text)["id"]
    monkeypatch.setattr(catalog, "actor", "ben")
    given = named.format(name="shop", id=key, text=text)
    assert api_keys.revoke(catalog, given) == {"id": key, "name": "shop"}
    rows = {row["id"]: row for row in api_keys.list_keys(catalog)}
    assert (rows[key]["state"], rows[key]["created_by"], rows[key]["revoked_by"]) == ("revoked", "anna", "ben")
    assert rows[key]["revoked_at"] is not None
    assert rows[parts(other)["id"]]["state"] == "valid"


def test_only_what_is_there_is_revoked_and_only_once(catalog: Catalog) -> None:
    text = api_keys.create(catalog, "shop")
    for named in ("shops", "", "%", "a\x00", "\udcff", f"psk_{ID}_{SECRET}"):
        with pytest.raises(NotFound) as unknown:
            api_keys.revoke(catalog, named)
        assert SECRET not in str(unknown.value)
    api_keys.revoke(catalog, "shop")
    before = api_keys.list_keys(catalog)
    for named in ("shop", parts(text)["id"]):
        with pytest.raises(NotFound, match="No API key"):
            api_keys.revoke(catalog, named)
    assert api_keys.list_keys(catalog) == before


@pytest.mark.parametrize("change", ["expires_at = '-infinity'", "revoked_at = now()", "revoked_by = 'x'"])
def test_the_catalog_takes_no_half_truths(catalog: Catalog, change: str) -> None:
    api_keys.create(catalog, "shop")
    with pytest.raises(psycopg.errors.CheckViolation):
        catalog.connection.execute(f"update prescore.api_keys set {change}".encode())


# The commands


def test_the_key_alone_is_on_stdout(sandbox: Sandbox) -> None:
    made = sandbox.cli("keys", "create", "shop", "--model", "churn", "--model", "upsell", "--expires", "90d")
    assert made.code == 0, made.err
    assert TEXT.fullmatch(made.out.removesuffix("\n"))
    assert "shop opens churn, upsell for 90d. It is shown once: only its hash is kept." in made.err
    assert parts(made.out.strip())["secret"] not in made.err
    assert "opens every model. It is shown once" in sandbox.cli("keys", "create", "all").err


def test_the_list_shows_all_but_the_secret(sandbox: Sandbox) -> None:
    assert sandbox.cli("keys", "list").out == "There is no API key yet: prescore keys create NAME\n"
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
    for told in (listed, in_json):
        assert secret not in told
        assert hashlib.sha256(secret.encode()).hexdigest() not in told


def test_a_key_is_revoked_by_command(sandbox: Sandbox) -> None:
    key = parts(sandbox.cli("keys", "create", "shop").out.strip())["id"]
    told = sandbox.cli("keys", "revoke", key)
    assert (told.code, told.out.startswith(f"shop ({key}) is revoked")) == (0, True), told.err
    assert sandbox.cli("keys", "list").out.splitlines()[1].endswith("revoked")
    again = sandbox.cli("keys", "revoke", "shop")
    assert (again.code, "No API key 'shop' is there" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["shop", "--expires", "90 days"], "'90 days' is no length of time: write a number and a unit"),
        (["shop", "--expires", "0d"], "expired at once"),
        (["shop", "--expires", "40000d"], "at most"),
        (["shop", "--model", "no-model"], "'no-model' is no model's name"),
        ([""], "a name is 1 to 100"),
    ],
)
def test_a_mistake_makes_no_key(sandbox: Sandbox, arguments: list[str], why: str) -> None:
    told = sandbox.cli("keys", "create", *arguments)
    assert (told.code, told.out, why in told.err) == (2, "", True), told
    assert sandbox.rows("select count(*) from prescore.api_keys") == [(0,)]


def test_keys_need_no_project(sandbox: Sandbox) -> None:
    (sandbox.root / "prescore.toml").unlink()
    for command in ("create shop", "list", "revoke shop"):
        assert sandbox.cli("keys", *command.split()).code == 0
