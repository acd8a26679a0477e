"""API keys, kept in memory so that a request is authenticated without a query."""

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
from prescore.errors import Forbidden, Unauthenticated
from prescore.wording import utc

_SCHEME = b"Bearer "
_BEARER = _SCHEME + b"psk_"
_PREFIX_LENGTH = len(prefix("0" * 12))
_KEY = re.compile(rb"psk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# A browser sends a user name of any length; the limit keeps a client from having a megabyte decoded and hashed.
_LONGEST_HEADER = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client: its API key's id and name, and the models that the key opens (None: all)."""

    id: str
    name: str
    models: frozenset[str] | None
    expires_at: float | None

    def may_read(self, model: str) -> bool:
        """Return whether the key opens a model."""
        return self.models is None or model in self.models

    def require(self, model: str) -> None:
        """Raise Forbidden unless the key opens the model, whether or not that model exists."""
        if not self.may_read(model):
            raise Forbidden(f"This API key does not open {model!r}.")


UNAUTHENTICATED = Caller("", "", frozenset(), None)
"""The caller of a request that was not authenticated; it may read nothing."""

# An unknown id is compared with this random hash, so that the check takes as long as for a known one.
_UNKNOWN = (secrets.token_bytes(32), UNAUTHENTICATED)


class Keyring:
    """The valid API keys, as last read from the catalog. It is empty until the first `replace`."""

    def __init__(self) -> None:
        self._keys: dict[bytes, tuple[bytes, Caller]] = {}

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace all keys by these rows of `api_keys_valid`, from the next request on."""
        keys = {}
        for row in rows:
            key_prefix = prefix(row["id"]).encode()
            keys[key_prefix] = (row["hash"], _caller(row))
        self._keys = keys

    def caller(self, authorization: bytes | None, now: float) -> Caller:
        """Return the caller behind an Authorization header at `now` (seconds since 1970); raise Unauthenticated."""
        # Valid headers are deliberately not cached: this takes about a microsecond, and looking up whole headers would
        # compare secrets in a time that depends on them.
        key = _key(authorization)
        expected, caller = self._keys.get(key[:_PREFIX_LENGTH], _UNKNOWN)
        if not compare_digest(digest(key[_PREFIX_LENGTH:]), expected):
            raise _unknown(key)
        if caller.expires_at is not None and now >= caller.expires_at:
            raise _expired(caller, caller.expires_at)
        return caller


class _OpenKeyring(Keyring):
    """The keyring of a server without authentication: every request may read every model."""

    _anonymous = Caller("", "anonymous", None, None)

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Do nothing: no keys are needed."""

    def caller(self, authorization: bytes | None, now: float) -> Caller:  # noqa: ARG002 # the signature of a Keyring
        """Return the anonymous caller."""
        return self._anonymous


OPEN: Keyring = _OpenKeyring()


def _caller(row: Mapping[str, Any]) -> Caller:
    models = row["models"]
    return Caller(
        id=row["id"],
        name=row["name"],
        models=None if models is None else frozenset(models),
        expires_at=row["expires_at"],
    )


def _key(authorization: bytes | None) -> bytes:
    """Extract the key from a header; raise Unauthenticated if the header cannot contain one."""
    if not authorization:
        raise Unauthenticated(
            "An API key is required. Send `Authorization: Bearer psk_…` or, from a browser, any user name with the key "
            "as the password. An operator of this server creates keys with `prescore keys create NAME`."
        )
    if len(authorization) > _LONGEST_HEADER:
        raise _malformed()
    # Nearly every client sends this.
    if authorization.startswith(_BEARER):
        return authorization[len(_SCHEME) :]
    scheme, _, credentials = authorization.partition(b" ")
    # Any number of spaces may follow the scheme (RFC 9110, 11.4).
    credentials = credentials.lstrip(b" ")
    match scheme.lower():
        case b"bearer":
            return credentials
        case b"basic":
            return _password(credentials)
    raise _malformed()


def claimed_id(authorization: bytes | None) -> str | None:
    """Return the id of the key in an Authorization header, which may be unknown or revoked; None without a key."""
    try:
        match = _KEY.fullmatch(_key(authorization))
    except Unauthenticated:
        return None
    return match[1].decode() if match else None


def _password(credentials: bytes) -> bytes:
    try:
        decoded = binascii.a2b_base64(credentials, strict_mode=True)
    except ValueError as error:
        raise _malformed() from error
    _, _, password = decoded.partition(b":")
    return password


# No message repeats the header: it may be a key with a typo, and messages end up in logs.
def _malformed() -> Unauthenticated:
    return Unauthenticated(
        "The Authorization header does not contain a prescore API key. Keys begin with psk_. Send "
        "`Authorization: Bearer psk_…` or, from a browser, any user name with the key as the password."
    )


def _unknown(key: bytes) -> Unauthenticated:
    if not _KEY.fullmatch(key):
        return _malformed()
    return Unauthenticated(
        "This API key is unknown or was revoked. An operator of this server creates keys with "
        "`prescore keys create NAME`."
    )


def _expired(caller: Caller, expires_at: float) -> Unauthenticated:
    when = utc(datetime.fromtimestamp(expires_at, UTC))
    return Unauthenticated(
        f"The API key {caller.name} ({caller.id}) expired on {when}. "
        "An operator of this server creates keys with `prescore keys create NAME`."
    )
