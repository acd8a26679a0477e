"""API keys: who may read over HTTP, and what. The catalog knows a key by its hash; the key itself is kept nowhere."""

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
_LONGEST_NAME = 100


class ApiKey(TypedDict):
    """A row of `prescore.api_keys`, without its hash.

    `models` None is all of them; `state` is one of valid, expired, revoked.
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
    """Which API key a revocation was of."""

    id: str
    name: str


def prefix(key_id: str) -> str:
    """What a key's text begins with. The rest of it is its secret."""
    return f"{_PREFIX}{key_id}_"


def digest(secret: bytes) -> bytes:
    """What is kept of a secret."""
    # Salts and slow hashes are for passwords, which can be guessed. This is 256 random bits: no two are alike, nobody
    # finds one by trying, however fast a try is; and a server has to do this with every request.
    return hashlib.sha256(secret).digest()


def create(catalog: Catalog, name: str, models: Sequence[str] | None = None, expires: timedelta | None = None) -> str:
    """Make a key and give its text, which cannot be had again; raises Mistake.

    It may read `models`, which need not be there yet, or with None every model; and this for as long as `expires` says,
    or with None until it is revoked.
    """
    if faults := [*_model_name_errors(name), *_scope_faults(models), *_expiry_faults(expires)]:
        raise Mistake(f"No API key was made: {'; '.join(faults)}.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {"id": key_id, "called": name, "hash": digest(secret.encode()), "expires": expires, "actor": catalog.actor}
    if catalog.one("api_keys_create", **row, models=None if models is None else sorted(set(models))) is None:
        raise Mistake(
            f"There is an API key {name} already. Give this one another name, "
            f"or revoke that one first: prescore keys revoke {shlex.quote(name)}"
        )
    return prefix(key_id) + secret


def list_keys(catalog: Catalog) -> list[ApiKey]:
    """All keys, those expired and revoked too, newest first."""
    return catalog.all("api_keys_list")


def revoke(catalog: Catalog, named: str) -> Revoked:
    """Let a key in no more, named by its name, its id or its text; raises NotFound, also when it was revoked before."""
    text = _TEXT.match(named)
    # And so the secret is not in a message.
    name = text["id"] if text else named
    revoked: Revoked | None = (
        catalog.one("api_keys_revoke", named=name, actor=catalog.actor) if name.isprintable() else None
    )
    if revoked is None:
        raise NotFound(f"No API key {name!r} is there to be revoked. `prescore keys list` shows them all.")
    return revoked


def _model_name_errors(name: str) -> list[str]:
    faults = []
    if not (name.isprintable() and name == name.strip() and 0 < len(name) <= _LONGEST_NAME):
        faults.append(f"a name is 1 to {_LONGEST_NAME} printable characters, with no space before or behind them")
    if name.startswith(_PREFIX):
        # Nor should one be kept by mistake.
        faults.append("a name must not begin as the keys themselves do")
    if re.fullmatch(_ID, name):
        faults.append("a name must not look like a key's id")
    return faults


def _scope_faults(models: Sequence[str] | None) -> list[str]:
    if models is not None and not models:
        return ["a key for no model opens nothing"]
    return [f"{model!r} is no model's name: {fault}" for model in models or () if (fault := model_name_error(model))]


def _expiry_faults(expires: timedelta | None) -> list[str]:
    return ["it would have expired at once"] if expires is not None and expires <= timedelta(0) else []
