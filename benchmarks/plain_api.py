"""A lookup endpoint that takes ten minutes to write: FastAPI, a pool of psycopg connections, one query per request.

`prescore serve` is compared with it. It has no versions, ages, authentication, metrics or log.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

pool = AsyncConnectionPool(
    os.environ["PRESCORE_DATABASE_URL"],
    min_size=8,
    max_size=8,
    kwargs={"autocommit": True, "row_factory": dict_row},
    open=False,
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the connections open while the server runs."""
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Report that the process answers."""
    return {"status": "ready"}


@app.get("/predictions/{key}")
async def predict(key: int) -> Any:
    """Return the prediction for a key, or 404."""
    async with pool.connection() as connection:
        cursor = await connection.execute("select * from predictions.stored where id = %s", (key,))
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404)
    return row


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        sys.stderr.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
