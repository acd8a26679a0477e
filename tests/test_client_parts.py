"""More keys than one request takes, through the Python client and the real API: asked in parts, of one version."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fix_api import Api, Shelf
from fix_client import Asking, Meanwhile, address, publish, retire
from prescore_api.client import MAX_KEYS, Client, Invalid


def test_more_keys_than_a_request_takes(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [(2 * MAX_KEYS, 0.5)])
    answers = ask(address(api.client), "lookup", m, ({"k": k} for k in range(2 * MAX_KEYS + 1)))
    assert [answer.key["k"] for answer in answers] == list(range(2 * MAX_KEYS + 1))
    assert [answer.key["k"] for answer in answers if answer.found] == [2 * MAX_KEYS]


def test_a_wrong_key_is_told_by_its_position_among_all(api: Api, ask: Asking) -> None:
    m = api.publish({"k": "bigint"}, [])
    keys: list[Any] = [{"k": k} for k in range(MAX_KEYS + 3)]
    keys[MAX_KEYS + 1] = {"k": "x"}
    with pytest.raises(Invalid, match=rf"^keys\[{MAX_KEYS + 1}\]: k must be a 64-bit integer"):
        ask(address(api.client), "lookup", m, keys)


def test_parts_are_of_the_version_of_the_first(shelf: Shelf, client: httpx.Client) -> None:
    publish(shelf, 1)
    transport = Meanwhile({1: lambda: publish(shelf, 2)})
    with Client(address(client), transport=transport) as asking:
        answers = asking.lookup("m", [{"k": k} for k in range(MAX_KEYS + 1)])
        assert asking.predict("m", 0).version == 2
    assert {answer.version for answer in answers} == {1}
    assert (answers[0]["score"], answers[-1]["score"], transport.sent) == (0.5, 0.5, 3)


def test_when_that_version_goes_all_parts_are_asked_anew(shelf: Shelf, client: httpx.Client) -> None:
    def swap() -> None:
        publish(shelf, 2)
        retire(shelf, 1)

    publish(shelf, 1)
    transport = Meanwhile({1: swap})
    with Client(address(client), transport=transport) as asking:
        answers = asking.lookup("m", [{"k": k} for k in range(MAX_KEYS + 1)])
    assert {answer.version for answer in answers} == {2}
    assert (answers[0]["score"], answers[-1]["score"], transport.sent) == (1.0, 1.0, 4)


def test_but_only_once_and_not_for_a_version_that_was_asked_for(shelf: Shelf, client: httpx.Client) -> None:
    def swap(version: int) -> None:
        publish(shelf, version + 1)
        retire(shelf, version)

    publish(shelf, 1)
    keys = [{"k": k} for k in range(MAX_KEYS + 1)]
    for version, happens, sent in [(None, {1: lambda: swap(1), 3: lambda: swap(2)}, 4), (3, {1: lambda: swap(3)}, 2)]:
        transport = Meanwhile(happens)
        with Client(address(client), transport=transport) as asking, pytest.raises(Invalid) as failed:
            asking.lookup("m", keys, version=version)
        assert (failed.value.code, transport.sent) == ("not_found", sent)
