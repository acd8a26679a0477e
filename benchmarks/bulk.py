"""A thousand keys a request: over HTTP in JSON and in Arrow, and the same statement without HTTP."""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from pathlib import Path

import psycopg
import pyarrow as pa
from benchmarks.http_load import Server
from benchmarks.meter import Row
from benchmarks.world import World

from prescore.catalog import lookup
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database

STATEMENT = "the statement without HTTP"
_KEYS, _BODIES = 1000, 200
_STREAM = "application/vnd.apache.arrow.stream"
# Lua would take longer to write a body than the server to answer it: they are written before.
_ASK = """
local bodies = {{}}
for i = 1, {bodies} do
  local file = io.open("{folder}/" .. i, "rb")
  bodies[i] = file:read("*a")
  file:close()
end
local n = 0
request = function()
  n = n % {bodies} + 1
  local headers = {{["Content-Type"] = "{form}", ["Accept"] = "{form}"{more}}}
  return wrk.format("POST", "/v1/predictions/{model}/lookup", headers, bodies[n])
end
"""


def measure(where: World, server: Server, arguments: argparse.Namespace) -> list[Row]:
    """Keys a second: of the statement alone and over HTTP on one connection, and of what is in memory on two."""
    return [
        _row(STATEMENT, _statement(where, arguments)),
        _row("from Postgres, JSON", _http(server, "stored", "application/json", 1, arguments)),
        _row("from Postgres, Arrow", _http(server, "stored", _STREAM, 1, arguments)),
        _row("from memory, JSON", _http(server, "held", "application/json", 2, arguments)),
        _row("from memory, Arrow", _http(server, "held", _STREAM, 2, arguments)),
        _row("from memory, Arrow, 10,000 keys", _http(server, "held", _STREAM, 2, arguments, 10 * _KEYS)),
    ]


def _row(of: str, second: float) -> Row:
    return {"figure": "bulk", "of": of, "second": second}


def _statement(where: World, arguments: argparse.Namespace) -> float:
    """One connection, prepared, the rows fetched and nothing made of them."""
    database = Database(where.database)
    with database.connect() as connection:
        described = Catalog(connection).one("lookup_published", model="stored")
        asked = lookup.published_statement("stored", described["key_columns"], described["output_columns"]).as_bytes()
    with psycopg.connect(where.database, autocommit=True) as plain:
        keys = _keys(arguments.rows, _KEYS)
        until, times = time.monotonic() + arguments.seconds, 0
        cursor = psycopg.RawCursor(plain)
        while time.monotonic() < until:
            cursor.execute(asked, lookup.parameters([keys[times % _BODIES]])).fetchall()
            times += 1
        return float(times * _KEYS) / float(arguments.seconds)


def _http(
    server: Server, model: str, form: str, connections: int, arguments: argparse.Namespace, keys: int = _KEYS
) -> float:
    with tempfile.TemporaryDirectory(prefix="prescore-wrk-") as folder:
        for n, some in enumerate(_keys(arguments.rows, keys)):
            body = _arrow(some) if form == _STREAM else json.dumps({"keys": [{"id": key} for key in some]}).encode()
            (Path(folder) / str(n + 1)).write_bytes(body)
        more = "".join(f', ["{name}"] = "{value}"' for name, value in server.headers.items())
        script = _ASK.format(folder=folder, bodies=_BODIES, model=model, form=form, more=more)
        measured = server.load(script, connections, arguments.seconds, Path(folder))
    if measured["errors"]:
        raise SystemExit(f"{measured['errors']} bulk requests went wrong")
    return float(measured["second"]) * keys


def _keys(rows: int, keys: int) -> list[list[int]]:
    chosen = random.Random(7)
    return [[chosen.randint(1, rows) for _ in range(keys)] for _ in range(_BODIES)]


def _arrow(keys: list[int]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": pa.array(keys, pa.int64())})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
