"""Connections below what an app can see: whose turn it is, and what is bounded."""

from __future__ import annotations

import re
import socket

import httpx
import pytest

from fix_api import Shelf

_BODY = b'{"keys":[{"k":3}]}'
_POST = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"


def _connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), 10)


def _get(key: int, more: bytes = b"") -> bytes:
    return b"GET /v1/predictions/m/%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (key, more)


def _all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_that_do_not_wait_are_answered_in_their_order(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(k, k / 4) for k in range(1, 5)])
    with _connected(client) as connection:
        post = _POST % len(_BODY) + _BODY
        connection.sendall(_get(1) + _get(9) + _get(2) + post + _get(4, b"Connection: close\r\n"))
        told = _all(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", told.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")) == [
        b"200", b"404", b"200", b"200", b"200",
    ]  # fmt: skip
    assert re.findall(rb'"k":(\d)', told) == [b"1", b"9", b"2", b"3", b"4"]


def test_a_large_answer_arrives_whole_before_the_connection_ends(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    reply = client.post("/v1/predictions/m/lookup", json={"keys": [{"k": 1}] * 10_000}, headers={"Connection": "close"})
    assert len(reply.json()["answers"]) == 10_000


def test_a_head_without_end_closes_the_connection(client: httpx.Client) -> None:
    with _connected(client) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with pytest.raises(OSError):  # noqa: PT011 # reset or broken pipe, as the system sees it
            connection.sendall(b"a" * (1 << 28))
    assert client.get("/health/live").status_code == 200


def test_headers_that_are_repeated_count(client: httpx.Client) -> None:
    reply = client.get("/health/live", headers=[("X-A", "a" * 1000)] * 40)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
    assert client.get(f"/v1/predictions/m/{'a' * 9000}").json()["error"]["code"] == "too_large"
