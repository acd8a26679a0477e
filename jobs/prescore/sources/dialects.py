"""What prescore knows about a kind of database: how to make it read only, and what its types are that Arrow lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prescore.sources.source import SourceType

_JSON = SourceType("JSON", (), "Texts in JSON have quotes around them. Extract the value as text in the domain query.")


@dataclass(frozen=True)
class Dialect:
    """A kind of database.

    `begin` are the statements that begin a transaction which only reads. With UTC, a time without a zone means the same
    on every machine. The others are about the type codes of a driver's cursor: `hidden` are types that its values do
    not show, `padded` texts that are filled up with spaces, which mean nothing, and `single` floats of 32 bits.
    """

    begin: tuple[str, ...] = ()
    hidden: Mapping[int | None, SourceType] = field(default_factory=dict)
    padded: frozenset[int] = frozenset()
    single: frozenset[int] = frozenset()
    is_mysql: bool = False


_POSTGRES = Dialect(
    begin=(
        "set transaction read only",
        # A role may have settings that round floats, or write dates in a way that psycopg does not read.
        "set local extra_float_digits = 3",
        "set local datestyle = 'ISO'",
        "set local timezone = 'UTC'",
        # While rows are converted and the first ones scored, nothing is read. A server that has a short limit would end
        # the session then, and one without a limit would keep the transaction of a suspended process forever.
        "set local idle_in_transaction_session_timeout = '10min'",
    ),
    # json, jsonb
    hidden={114: _JSON, 3802: _JSON},
    # bpchar, which is char(n)
    padded=frozenset([1042]),
    # real, real[]
    single=frozenset([700, 1021]),
)
_MYSQL = Dialect(
    begin=(
        "set session transaction read only",
        "set session time_zone = '+00:00'",
        # How many seconds the server waits until the next rows are read; the default is 60.
        "set session net_write_timeout = 600",
    ),
    hidden={
        245: _JSON,
        4: SourceType(
            "FLOAT",
            (),
            "The server sends it rounded to six digits. Convert it in the domain query: cast(x as double).",
        ),
    },
    is_mysql=True,
)
_SQLITE = Dialect(begin=("pragma query_only = on",))
_BY_NAME = {"postgresql": _POSTGRES, "mysql": _MYSQL, "mariadb": _MYSQL, "sqlite": _SQLITE}


def by_name(name: str) -> Dialect:
    """Return the dialect of a name that SQLAlchemy has for it, such as `postgresql`; others have no particulars."""
    return _BY_NAME.get(name, Dialect())
