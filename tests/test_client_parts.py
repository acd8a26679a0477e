"""Lookups of more keys than a request takes: the Python client sends them in parts and reads a single version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fix_api import Api, Shelf
from fix_client import ClientCall, InterleavingTransport, Response, ScriptedServer, address, publish, retire
from prescore_api.client import MAX_KEYS, ApiError, Client, Invalid


def test_keys_beyond_the_limit_are_sent_in_parts(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [(2 * MAX_KEYS, 0.5)])
    answers = call(address(api.client), "lookup", name, ({"k": k} for k in range(2 * MAX_KEYS + 1)))
    assert [answer.key["k"] for answer in answers] == list(range(2 * MAX_KEYS + 1))
    assert [answer.key["k"] for answer in answers if answer.found] == [2 * MAX_KEYS]


def test_an_invalid_key_is_reported_with_its_position_among_all_keys(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "bigint"}, [])
    keys: list[Any] = [{"k": k} for k in range(MAX_KEYS + 3)]
    keys[MAX_KEYS + 1] = {"k": "x"}
    with pytest.raises(Invalid, match=rf"^keys\[{MAX_KEYS + 1}\]: k must be a 64-bit integer"):
        call(address(api.client), "lookup", name, keys)
    with pytest.raises(TypeError, match=r"keys\[0\]: pass each key by column name, \{column: value\}"):
        call(address(api.client), "lookup", name, [7])


def test_all_parts_read_the_version_of_the_first_part(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    transport = InterleavingTransport({1: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup("m", [{"k": k} for k in range(MAX_KEYS + 1)])
        assert python_client.predict("m", 0).version == 2
    assert {answer.version for answer in answers} == {1}
    assert (answers[0]["score"], answers[-1]["score"], transport.request_count) == (0.5, 0.5, 3)


def test_all_parts_are_sent_again_when_their_version_is_retired(shelf: Shelf, client: httpx.Client) -> None:
    def swap() -> None:
        publish(shelf, 2)
        retire(shelf, 1)

    publish(shelf, 1)
    transport = InterleavingTransport({1: swap})
    with Client(address(client), transport=transport) as python_client:
        answers = python_client.lookup("m", [{"k": k} for k in range(MAX_KEYS + 1)])
    assert {answer.version for answer in answers} == {2}
    assert (answers[0]["score"], answers[-1]["score"], transport.request_count) == (1.0, 1.0, 4)


def test_parts_are_sent_again_only_once_and_never_for_a_requested_version(shelf: Shelf, client: httpx.Client) -> None:
    def swap(version: int) -> None:
        publish(shelf, version + 1)
        retire(shelf, version)

    publish(shelf, 1)
    keys = [{"k": k} for k in range(MAX_KEYS + 1)]
    cases: list[tuple[int | None, dict[int, Callable[[], None]], int]] = [
        (None, {1: lambda: swap(1), 3: lambda: swap(2)}, 4),
        (3, {1: lambda: swap(3)}, 2),
    ]
    for version, actions, request_count in cases:
        transport = InterleavingTransport(actions)
        with Client(address(client), transport=transport) as python_client, pytest.raises(Invalid) as error:
            python_client.lookup("m", keys, version=version)
        assert (error.value.code, transport.request_count) == ("not_found", request_count)


def test_all_rows_of_a_version_are_iterated_in_pages(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "text", "n": "integer"}, [(k, n, n / 2) for n in (2, 1) for k in ("b\r\nb", "a", "é")])
    for page_size in (1, 4, 6, 7):
        rows = call(address(api.client), "rows", name, page_size=page_size)
        assert [(row["score"], row.found, row.version) for row in rows] == [(n / 2, True, 1) for n in (1, 2)] * 3
    (answer, *_) = call(address(api.client), "rows", name)
    looked_up = call(address(api.client), "predict", name, answer.key)
    assert replace(answer, age_seconds=0.0) == replace(looked_up, age_seconds=0.0)
    assert call(address(api.client), "rows", api.publish({"k": "text"}, [])) == []


def test_rows_of_all_pages_are_of_the_version_of_the_first(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    with Client(address(client)) as python_client:
        rows = python_client.rows("m", page_size=1)
        assert next(rows)["score"] == 0.5
        publish(shelf, 2)
        assert [row["score"] for row in rows] == [0.5]
        rows = python_client.rows("m", version=1, outputs="score", max_age=3600, page_size=1)
        next(rows)
        retire(shelf, 1)
        with pytest.raises(Invalid, match="m version 1 was retired while its rows were being read") as error:
            next(rows)
    assert (error.value.code, error.value.status) == ("version_retired", 410)


def test_the_key_rows_is_a_key(api: Api, call: ClientCall) -> None:
    name = api.publish({"k": "text"}, [("rows", 0.5)])
    assert call(address(api.client), "predict", name, "rows")["score"] == 0.5


def test_a_page_of_another_server_is_no_rows(start_server: Callable[..., ScriptedServer], call: ClientCall) -> None:
    for response in (Response(body={}), Response(headers={"Content-Type": "application/x-ndjson"}, body=[1])):
        with pytest.raises(ApiError, match="is not from prescore"):
            call(start_server(response).url, "rows", "m")
