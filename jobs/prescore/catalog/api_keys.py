"""API keys for reading over HTTP. The catalog stores only a hash of each key's secret."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict

from prescore.catalog.catalog import Catalog
from prescore.catalog.naming import model_name_error
from prescore.errors import Mistake, NotFound

_PREFIX = "psk_"
_ID = r"[0-9a-f]{12}"
_TEXT = re.compile(rf"{_PREFIX}(?P<id>{_ID})")
_MAX_NAME_LENGTH = 100


class ApiKey(TypedDict):
    """A row of `prescore.api_keys` without its hash.

    `models` lists the models that the key may read; None means all models. `state` is valid, expired or revoked.
    """

    id: str
    name: str
    models: list[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    state: str


class Revoked(TypedDict):
    """The API key that was revoked."""

    id: str
    name: str


def prefix(key_id: str) -> str:
    """Return the beginning of a key's text. The secret follows it."""
    return f"{_PREFIX}{key_id}_"


def digest(secret: bytes) -> bytes:
    """Return the SHA-256 hash of a secret, which the catalog stores."""
    # A plain hash is enough, and fast enough to compute for every request. Salts and slow hashes protect passwords,
    # which can be guessed; a secret is 256 random bits.
    return hashlib.sha256(secret).digest()


def create(catalog: Catalog, name: str, models: Sequence[str] | None = None, expires: timedelta | None = None) -> str:
    """Create a key and return its text, which cannot be recovered later; raise Mistake.

    The key may read `models`, which need not exist yet, or all models when None. It is valid for `expires`, or until it
    is revoked when None.
    """
    faults = [*_name_faults(name), *_scope_faults(models), *_expiry_faults(expires)]
    if faults:
        raise Mistake(f"No API key was created: {'; '.join(faults)}.")
    key_id = secrets.token_hex(6)
    secret = secrets.token_urlsafe(32)
    row = catalog.one(
        "api_keys_create",
        id=key_id,
        name=name,
        hash=digest(secret.encode()),
        models=None if models is None else sorted(set(models)),
        expires=expires,
        actor=catalog.actor,
    )
    if row is None:
        raise Mistake(
            f"An API key named {name} already exists. Choose another name, "
            f"or revoke the existing key first: prescore keys revoke {shlex.quote(name)}"
        )
    return prefix(key_id) + secret


def list_keys(catalog: Catalog) -> list[ApiKey]:
    """Return all keys, including expired and revoked ones, newest first."""
    return catalog.all("api_keys_list")


def revoke(catalog: Catalog, key: str) -> Revoked:
    """Revoke a key, given by its name, its id or its text; raise NotFound if no such key is left to revoke."""
    text = _TEXT.match(key)
    # Continuing with the id keeps the secret out of messages.
    name_or_id = text["id"] if text else key
    revoked: Revoked | None = None
    # No key has a name with unprintable characters, some of which Postgres rejects.
    if name_or_id.isprintable():
        revoked = catalog.one("api_keys_revoke", name_or_id=name_or_id, actor=catalog.actor)
    if revoked is None:
        raise NotFound(f"There is no API key {name_or_id!r} to revoke. `prescore keys list` lists all keys.")
    return revoked


def _name_faults(name: str) -> list[str]:
    faults = []
    if not (name.isprintable() and name == name.strip() and 0 < len(name) <= _MAX_NAME_LENGTH):
        faults.append(f"a name has 1 to {_MAX_NAME_LENGTH} printable characters, without leading or trailing spaces")
    if name.startswith(_PREFIX):
        # Otherwise a key that is pasted as a name by mistake would be stored.
        faults.append(f"a name must not begin with {_PREFIX}, as keys do")
    if re.fullmatch(_ID, name):
        faults.append("a name must not look like the id of a key")
    return faults


def _scope_faults(models: Sequence[str] | None) -> list[str]:
    if models is None:
        return []
    if not models:
        return ["a key needs at least one model"]
    faults = []
    for model in models:
        fault = model_name_error(model)
        if fault is not None:
            faults.append(f"{model!r} is not a valid model name: {fault}")
    return faults


def _expiry_faults(expires: timedelta | None) -> list[str]:
    if expires is not None and expires <= timedelta(0):
        return ["it would expire immediately"]
    return []
