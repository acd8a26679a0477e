"""Lookups of more keys than a request takes: the Python client sends them in parts and reads a single version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fix_api import Api, Shelf
from fix_client import ClientCall, InterleavingTransport, address, publish, retire
from prescore_api.client import MAX_KEYS, Client, Invalid


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
