"""Who asks: the API keys that are not revoked, held in memory, so that a request is let in without the database."""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any

from prescore.catalog.api_keys import digest, prefix
from prescore.errors import Unauthenticated

_BEARER = b"Bearer "
_HEAD = len(prefix("0" * 12))
_KEY = re.compile(rb"psk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")
# A browser's user name may be of any length; nobody is to have us hash, or decode, a megabyte.
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was let in: the API key's id and name, and what it opens. `models` None is all of them."""

    id: str
    name: str
    models: frozenset[str] | None
    expires_at: float | None

    def may_read(self, model: str) -> bool:
        """Whether a model is open to them."""
        return self.models is None or model in self.models


# What an unknown id is compared with, so that it takes as long as a known one. Nobody has a secret of this hash.
_NOBODY = (secrets.token_bytes(32), Caller("", "", frozenset(), None))


class Keyring:
    """The keys as the database last had them; none before the first `replace`."""

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, Caller]] = {}

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Hold these rows of `api_keys_valid`, and no others, from the next request on."""
        self._held = {prefix(row["id"]).encode(): (row["hash"], _caller(row)) for row in rows}

    def caller(self, authorization: bytes | None, now: float) -> Caller:
        """Who sends this Authorization header, at a time in seconds since 1970; raises Unauthenticated."""
        # Headers that were right are not remembered: all of this takes about a microsecond, and looking whole headers
        # up would be comparing secrets in a time that depends on them.
        key = _key(authorization)
        kept, caller = self._held.get(key[:_HEAD], _NOBODY)
        if not compare_digest(digest(key[_HEAD:]), kept):
            raise _unknown(key)
        if caller.expires_at is not None and now >= caller.expires_at:
            raise _expired(caller, caller.expires_at)
        return caller


class _Open(Keyring):
    """For a server that is open on purpose: whatever is sent, and be it nothing, opens every model."""

    _anybody = Caller("", "anybody", None, None)

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """There is nothing to hold."""

    def caller(self, authorization: bytes | None, now: float) -> Caller:  # noqa: ARG002 # of a Keyring
        """Anybody."""
        return self._anybody


OPEN: Keyring = _Open()


def _caller(row: Mapping[str, Any]) -> Caller:
    models = None if row["models"] is None else frozenset(row["models"])
    return Caller(row["id"], row["name"], models, row["expires_at"])


def _key(authorization: bytes | None) -> bytes:
    """The key in a header, or what stands in its place; raises Unauthenticated where there is none."""
    if not authorization:
        raise Unauthenticated(
            "An API key is needed: send `Authorization: Bearer psk_…`, or, from a browser, any user name with the key "
            "as password. Whoever runs this server makes one: `prescore keys create NAME`."
        )
    if len(authorization) > _LONGEST:
        raise _no_key()
    # As nearly everybody writes it.
    if authorization.startswith(_BEARER):
        return authorization[len(_BEARER) :]
    scheme, _, given = authorization.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return given
        case b"basic":
            return _password(given)
    raise _no_key()


def _password(given: bytes) -> bytes:
    try:
        return binascii.a2b_base64(given, strict_mode=True).partition(b":")[2]
    except ValueError as error:
        raise _no_key() from error


# None of these repeats what was sent: it may be a key with a slip in it, and messages end up in logs.
def _no_key() -> Unauthenticated:
    return Unauthenticated(
        "What the Authorization header holds is no API key of prescore's. Those begin with psk_, and are sent as "
        "`Authorization: Bearer psk_…`, or, from a browser, as the password with any user name."
    )


def _unknown(key: bytes) -> Unauthenticated:
    if not _KEY.fullmatch(key):
        return _no_key()
    return Unauthenticated("This API key is not known here, or it was revoked. Whoever runs this server makes another.")


def _expired(caller: Caller, when: float) -> Unauthenticated:
    moment = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d at %H:%M} UTC"
    return Unauthenticated(
        f"The API key {caller.name} ({caller.id}) expired on {moment}. "
        "Whoever runs this server makes another: `prescore keys create NAME`."
    )
