"""Ask a lookup API from Python: with `Client`, or with `AsyncClient` where there is an event loop.

    with Client("https://predictions.example.org", key) as predictions:
        answer = predictions.predict("churn", 42)
        if answer.found:
            print(answer["score"], answer.age_seconds)

It needs httpx, and pyarrow for `lookup_table` alone; nothing of the server's, and nothing else of prescore's.
"""

from prescore_api.client.answers import Answer, Column, Model, Version
from prescore_api.client.asking import MAX_KEYS, Key, KeyValue
from prescore_api.client.clients import AsyncClient, Client
from prescore_api.client.errors import ApiError, Invalid, NotAllowed, TooOld, Unavailable

__all__ = [
    "MAX_KEYS",
    "Answer",
    "ApiError",
    "AsyncClient",
    "Client",
    "Column",
    "Invalid",
    "Key",
    "KeyValue",
    "Model",
    "NotAllowed",
    "TooOld",
    "Unavailable",
    "Version",
]
