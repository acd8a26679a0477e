"""A Python client for the lookup API: `Client` blocks, `AsyncClient` is for asyncio.

    with Client("https://predictions.example.org", key) as client:
        answer = client.predict("churn", 42)
        if answer.found:
            print(answer["score"], answer.age_seconds)

The client depends on httpx, and for tables and DataFrames also on pyarrow. It imports nothing else of prescore.
"""

try:
    import httpx as _httpx  # noqa: F401
except ModuleNotFoundError as error:
    message = "The client needs the extra 'client' of prescore, which is not installed (no module httpx). "
    raise ModuleNotFoundError(f"{message}Run: pip install 'prescore[client]'", name="httpx") from error

from prescore_api.client.answers import (
    Answer,
    Canary,
    Column,
    Feature,
    InMemory,
    Live,
    Model,
    Rejection,
    ScoreAnswer,
    Version,
)
from prescore_api.client.clients import AsyncClient, Client
from prescore_api.client.errors import ApiError, Invalid, NotAllowed, TooOld, Unavailable
from prescore_api.client.json_body import Key, KeyValue, ScoreRow
from prescore_api.client.parts import MAX_KEYS
from prescore_api.client.requests import Options, Source

__all__ = [
    "MAX_KEYS",
    "Answer",
    "ApiError",
    "AsyncClient",
    "Canary",
    "Client",
    "Column",
    "Feature",
    "InMemory",
    "Invalid",
    "Key",
    "KeyValue",
    "Live",
    "Model",
    "NotAllowed",
    "Options",
    "Rejection",
    "ScoreAnswer",
    "ScoreRow",
    "Source",
    "TooOld",
    "Unavailable",
    "Version",
]
