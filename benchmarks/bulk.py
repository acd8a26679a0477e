"""A thousand keys per request: over HTTP in JSON and in Arrow, and the same statement without HTTP."""

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

from prescore.catalog import lookup_statements
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database

STATEMENT = "the statement without HTTP"
_KEYS, _BODIES = 1000, 200
_STREAM = "application/vnd.apache.arrow.stream"
# Writing a body takes Lua longer than answering it takes the server, so the bodies are written in advance.
_REQUESTS = """
local bodies = {{}}
for i = 1, {bodies} do
  local file = io.open("{folder}/" .. i, "rb")
  bodies[i] = file:read("*a")
  file:close()
end
local n = 0
request = function()
  n = n % {bodies} + 1
  local headers = {{["Content-Type"] = "{media_type}", ["Accept"] = "{media_type}"{more}}}
  return wrk.format("POST", "/v1/predictions/{model}/lookup", headers, bodies[n])
end
"""


def measure(where: World, server: Server, arguments: argparse.Namespace) -> list[Row]:
    """Measure keys per second: the statement alone and over HTTP on one connection, and from memory on two."""
    return [
        _row(STATEMENT, _statement(where, arguments)),
        _row("from Postgres, JSON", _http(server, "stored", "application/json", 1, arguments)),
        _row("from Postgres, Arrow", _http(server, "stored", _STREAM, 1, arguments)),
        _row("from memory, JSON", _http(server, "held", "application/json", 2, arguments)),
        _row("from memory, Arrow", _http(server, "held", _STREAM, 2, arguments)),
        _row("from memory, Arrow, 10,000 keys", _http(server, "held", _STREAM, 2, arguments, 10 * _KEYS)),
    ]


def _row(subject: str, rate: float) -> Row:
    return {"figure": "bulk", "subject": subject, "rate": rate}


def _statement(where: World, arguments: argparse.Namespace) -> float:
    """Run the prepared statement on one connection; the rows are fetched and not used."""
    database = Database(where.database)
    with database.connect() as connection:
        version = Catalog(connection).one("lookup_version", model="stored", version=None)
        statement = lookup_statements.published_statement(version).as_bytes()
    with psycopg.connect(where.database, autocommit=True) as plain:
        keys = _keys(arguments.rows, _KEYS)
        end, count = time.monotonic() + arguments.seconds, 0
        cursor = psycopg.RawCursor(plain)
        while time.monotonic() < end:
            cursor.execute(statement, lookup_statements.parameters([keys[count % _BODIES]])).fetchall()
            count += 1
        return float(count * _KEYS) / float(arguments.seconds)


def _http(
    server: Server, model: str, media_type: str, connections: int, arguments: argparse.Namespace, keys: int = _KEYS
) -> float:
    with tempfile.TemporaryDirectory(prefix="prescore-wrk-") as folder:
        # Lua counts from 1.
        for number, chosen in enumerate(_keys(arguments.rows, keys), 1):
            (Path(folder) / str(number)).write_bytes(_arrow(chosen) if media_type == _STREAM else _json(chosen))
        more = "".join(f', ["{name}"] = "{value}"' for name, value in server.headers.items())
        script = _REQUESTS.format(folder=folder, bodies=_BODIES, model=model, media_type=media_type, more=more)
        measured = server.load(script, connections, arguments.seconds)
    if measured["errors"]:
        raise SystemExit(f"{measured['errors']} bulk requests failed")
    return float(measured["rate"]) * keys


def _keys(rows: int, keys: int) -> list[list[int]]:
    generator = random.Random(7)
    return [[generator.randint(1, rows) for _ in range(keys)] for _ in range(_BODIES)]


def _json(keys: list[int]) -> bytes:
    return json.dumps({"keys": [{"id": key} for key in keys]}).encode()


def _arrow(keys: list[int]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": pa.array(keys, pa.int64())})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
