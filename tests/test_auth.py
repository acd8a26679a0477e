"""Authentication with the API keys that a server keeps in memory, and the messages of refusals."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prescore.catalog import api_keys
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import Unauthenticated
from prescore_api.service import auth
from prescore_api.service.auth import OPEN, Caller, Keyring

NOW = 1_790_000_000.0  # 2026-09-21
ID, OTHER_ID = "0123456789ab", "ffffffffffff"
SECRET = "-_" + "s" * 40 + "_"
KEY = f"psk_{ID}_{SECRET}".encode()
UNKNOWN = "is unknown or was revoked"
MALFORMED = "does not contain a prescore API key"


def row(**more: Any) -> dict[str, Any]:
    """Return the row of `api_keys_valid` for KEY."""
    return {
        "id": ID,
        "name": "shop",
        "hash": hashlib.sha256(SECRET.encode()).digest(),
        "models": None,
        "expires_at": None,
    } | more


def keyring(*rows: dict[str, Any]) -> Keyring:
    ring = Keyring()
    ring.replace(rows)
    return ring


def bearer(key: bytes = KEY) -> bytes:
    return b"Bearer " + key


def basic(user: bytes = b"", key: bytes = KEY) -> bytes:
    return b"Basic " + base64.b64encode(user + b":" + key)


def refusal(ring: Keyring, authorization: bytes | None, now: float = NOW) -> str:
    """Return the message of the refusal; it never contains what the client sent."""
    with pytest.raises(Unauthenticated) as refused:
        ring.caller(authorization, now)
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value.__cause__)
    return str(refused.value)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The secrets that have been hashed."""
    seen: list[bytes] = []

    def record(secret: bytes) -> bytes:
        seen.append(secret)
        return api_keys.digest(secret)

    monkeypatch.setattr(auth, "digest", record)
    return seen


def test_a_key_of_the_catalog_works_until_it_is_revoked(connection: Connection) -> None:
    ring, catalog = Keyring(), Catalog(connection)
    texts = {name: api_keys.create(catalog, name, ["churn"], timedelta(hours=1)) for name in ("shop", "late", "other")}
    ring.replace(catalog.all("api_keys_valid"))
    for name, text in texts.items():
        caller = ring.caller(bearer(text.encode()), NOW - 10**9)
        assert (caller.id, caller.name, caller.models) == (text.split("_")[1], name, frozenset({"churn"}))
    listed = api_keys.list_keys(catalog)[-1]["expires_at"]
    assert listed is not None
    assert caller.expires_at == pytest.approx(listed.timestamp(), abs=1)
    api_keys.revoke(catalog, "shop")
    connection.execute(
        "update prescore.api_keys set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
        " where name = 'late'"
    )
    ring.replace(catalog.all("api_keys_valid"))
    assert UNKNOWN in refusal(ring, bearer(texts["shop"].encode()))
    assert "expired on" in refusal(ring, bearer(texts["late"].encode()), listed.timestamp())
    assert ring.caller(bearer(texts["other"].encode()), NOW - 10**9).name == "other"


@pytest.mark.parametrize(
    "authorization",
    [
        bearer(),
        b"bearer " + KEY,
        b"BEARER " + KEY,
        b"Bearer   " + KEY,
        basic(),
        basic(b"anna"),
        basic("ännä@example.org".encode()),
        basic(b"\xff"),
        basic(b"u" * 500),
        b"basic " + basic()[6:],
        b"Basic  " + basic()[6:],
    ],
)
def test_a_key_is_accepted_as_token_or_as_password(authorization: bytes) -> None:
    assert keyring(row()).caller(authorization, NOW) == Caller(ID, "shop", None, None)


@pytest.mark.parametrize("authorization", [None, b""])
def test_a_missing_key_is_refused_with_instructions(authorization: bytes | None) -> None:
    assert "Send `Authorization: Bearer psk_…`" in refusal(keyring(row()), authorization)


@pytest.mark.parametrize(
    "authorization",
    [
        b" ",
        b"Bearer",
        b"Bearer ",
        b"Basic",
        b"Basic ",
        KEY,
        b"Digest " + KEY,
        b"Bearer" + KEY,
        b"Bearer\t" + KEY,
        bearer(KEY + b" "),
        bearer(b"x" + KEY),
        bearer(KEY[:-1]),
        bearer(KEY + b"s"),
        bearer(KEY + b"\n"),
        bearer(KEY + b"\x00"),
        bearer(KEY.upper()),
        bearer(KEY.replace(b"psk_", b"psk-")),
        bearer(KEY.replace(b"ab_", b"ab-")),
        bearer(b"\xff\xfe" + KEY),
        bearer("psk_ключ".encode()),
        bearer(basic()[6:]),
        b"Basic " + KEY,
        b"Basic " + b"=" * 20,
        # Neither a user name nor the colon after it.
        b"Basic " + base64.b64encode(KEY),
        # The key as the user name.
        b"Basic " + base64.b64encode(KEY + b":"),
        basic().rstrip(b"=") + b"\xff",
        basic() + b"!",
        basic(key=b""),
        basic(b"anna", b"secret"),
    ],
)
def test_a_malformed_key_is_refused_as_malformed(authorization: bytes) -> None:
    assert MALFORMED in refusal(keyring(row()), authorization)


def test_line_breaks_in_base64_are_refused() -> None:
    encoded = base64.encodebytes(b"anna:" + KEY).rstrip()
    assert b"\n" in encoded
    assert MALFORMED in refusal(keyring(row()), b"Basic " + encoded)


@pytest.mark.parametrize("scheme", [b"Bearer ", b"Basic ", b"bearer ", b"x"])
def test_a_very_long_header_is_refused_without_hashing(hashed: list[bytes], scheme: bytes) -> None:
    assert MALFORMED in refusal(keyring(row()), scheme + KEY + b"A" * 2**20)
    assert hashed == []


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(base64.b64encode)))
def test_arbitrary_headers_are_refused_and_never_crash(sent: bytes) -> None:
    for scheme in (b"", b"Bearer ", b"Bearer psk_", bearer(KEY[:17]), b"Basic ", b"basic  "):
        with pytest.raises(Unauthenticated):
            keyring(row()).caller(scheme + sent, NOW)


def test_an_unknown_key_is_refused_like_a_wrong_secret(hashed: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def record(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(auth, "compare_digest", record)
    ring, wrong = keyring(row()), KEY[:-1] + b"x"
    messages = {refusal(ring, bearer(key)) for key in (wrong, KEY.replace(ID.encode(), OTHER_ID.encode()))}
    assert len(messages) == 1
    assert UNKNOWN in messages.pop()
    # An unknown id takes as long as a wrong secret.
    assert hashed == [wrong[17:], SECRET.encode()]
    assert [len(a) == len(b) == 32 for a, b in compared] == [True, True]
    assert compared[0][1] == row()["hash"]


def test_a_secret_does_not_work_with_another_id() -> None:
    ring = keyring(row(), row(id=OTHER_ID, hash=hashlib.sha256(b"another").digest()))
    assert UNKNOWN in refusal(ring, bearer(KEY.replace(ID.encode(), OTHER_ID.encode())))


def test_an_expired_key_is_refused_with_its_expiry_only_if_the_secret_is_right() -> None:
    ring = keyring(row(expires_at=NOW))
    for header in (bearer(), basic()):
        assert ring.caller(header, NOW - 0.001).expires_at == NOW
        assert f"shop ({ID}) expired on 2026-09-21" in refusal(ring, header, NOW)
        assert f"shop ({ID}) expired on 2026-09-21" in refusal(ring, header, NOW + 10**9)
    assert UNKNOWN in refusal(ring, bearer(KEY[:-1] + b"x"), NOW)


def test_replaced_keys_count_from_the_next_request_on() -> None:
    ring = Keyring()
    assert UNKNOWN in refusal(ring, bearer())
    ring.replace([row(models=["churn"])])
    assert ring.caller(bearer(), NOW).may_read("churn")
    ring.replace([row(models=["upsell"], expires_at=NOW + 1)])
    assert not ring.caller(bearer(), NOW).may_read("churn")
    assert "expired" in refusal(ring, bearer(), NOW + 1)
    ring.replace([row(id=OTHER_ID)])
    assert UNKNOWN in refusal(ring, bearer())
    ring.replace([])
    assert UNKNOWN in refusal(ring, bearer(KEY.replace(ID.encode(), OTHER_ID.encode())))


def test_an_interrupted_replacement_changes_nothing() -> None:
    ring = keyring(row())

    def cut() -> Iterator[dict[str, Any]]:
        yield row(id=OTHER_ID)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ring.replace(cut())
    assert ring.caller(bearer(), NOW).name == "shop"
    assert UNKNOWN in refusal(ring, bearer(KEY.replace(ID.encode(), OTHER_ID.encode())))


@pytest.mark.parametrize(
    ("models", "read"),
    [(None, {"churn", "upsell", "churn_eu"}), (["churn"], {"churn"}), (["churn", "upsell"], {"churn", "upsell"})],
)
def test_a_caller_reads_the_models_of_the_key(models: list[str] | None, read: set[str]) -> None:
    caller = keyring(row(models=models)).caller(bearer(), NOW)
    assert {model for model in ("churn", "upsell", "churn_eu") if caller.may_read(model)} == read
    with pytest.raises(FrozenInstanceError):
        caller.models = None  # type: ignore[misc]


@pytest.mark.parametrize("authorization", [None, b"", b"\xff", bearer(), b"Basic " + b"x" * 2**20])
def test_an_open_server_lets_every_request_read_every_model(authorization: bytes | None) -> None:
    OPEN.replace([])
    caller = OPEN.caller(authorization, NOW)
    assert caller.may_read("churn")
    assert (caller.id, caller.models, caller.expires_at) == ("", None, None)
