"""The Python client on failures: what it retries, for how long, and which errors it raises."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from fix_client import ANSWER, ClientCall, Response, ScriptedServer, error_response
from prescore_api.client import Answer, ApiError, AsyncClient, Client, Invalid, NotAllowed, TooOld, Unavailable
from prescore_api.client.attempts import Budget

StartServer = Callable[..., ScriptedServer]
DATABASE_UNAVAILABLE = error_response(503, "database_unavailable", Retry_After="0")


@contextmanager
def _lasts(least: float, most: float = math.inf) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert least <= time.monotonic() - started < most


def test_a_request_is_retried_after_the_time_in_retry_after(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(error_response(503, "database_unavailable", Retry_After="1"), Response())
    with _lasts(1.0):
        assert call(server.url, "predict", "m", 7)["score"] == 0.5
    assert len(server.requests) == 2
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


def test_a_lookup_is_retried_although_it_is_a_post(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(DATABASE_UNAVAILABLE, Response(body={"answers": [ANSWER]}, headers={"Prescore-Version": "3"}))
    assert call(server.url, "lookup", "m", [{"k": 7}])[0]["score"] == 0.5
    assert [(method, body) for method, _, _, body in server.requests] == [("POST", b'{"keys":[{"k":7}]}')] * 2


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_request_is_retried_as_often_as_retries_allows(
    start_server: StartServer, call: ClientCall, retries: int
) -> None:
    server = start_server(DATABASE_UNAVAILABLE)
    with pytest.raises(Unavailable) as error:
        call(server.url, "predict", "m", 7, settings={"retries": retries})
    assert (error.value.code, error.value.status, error.value.retry_after) == ("database_unavailable", 503, 0)
    assert len(server.requests) == retries + 1


@pytest.mark.parametrize(
    "response",
    [
        error_response(503, "database_unavailable", Retry_After="3"),
        error_response(503, "database_unavailable"),
        error_response(503, "database_unavailable", Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"),
        error_response(503, "too_old", Retry_After="1"),
        error_response(500, "internal", Retry_After="1"),
        error_response(404, "not_found"),
        error_response(401, "unauthenticated"),
    ],
)
def test_a_response_that_a_retry_cannot_change_is_not_retried(
    start_server: StartServer, call: ClientCall, response: Response
) -> None:
    server = start_server(response)
    with pytest.raises(ApiError):
        call(server.url, "predict", "m", 7)
    assert len(server.requests) == 1


def test_a_retry_that_would_come_after_the_timeout_is_not_awaited(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(error_response(503, "database_unavailable", Retry_After="1"))
    with pytest.raises(Unavailable, match="database_unavailable") as error:
        call(server.url, "predict", "m", 7, settings={"timeout": 0.8})
    assert error.value.retry_after == 1


def test_a_request_is_retried_after_a_lost_connection(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(Response(disconnect=True), Response(disconnect=True), Response())
    assert call(server.url, "predict", "m", 7)["score"] == 0.5
    assert len(server.requests) == 3


def test_a_connection_lost_in_every_attempt_raises_unavailable(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(Response(disconnect=True))
    with pytest.raises(Unavailable, match=f"^{server.url} cannot be reached: ") as error:
        call(server.url, "predict", "m", 7)
    assert (error.value.code, error.value.status, len(server.requests)) == ("unreachable", None, 3)


def test_an_unreachable_server_is_named_without_its_credentials(call: ClientCall) -> None:
    # The client pauses for 0.1 s and then for 0.2 s between its three attempts.
    with _lasts(0.3), pytest.raises(Unavailable) as error:
        call("http://name:swordfish@127.0.0.1:1/prefix", "predict", "m", 7)
    assert str(error.value).startswith("http://127.0.0.1:1 cannot be reached: ")
    assert isinstance(error.value.__cause__, httpx.ConnectError)


def test_a_request_is_retried_when_a_reused_connection_is_lost(start_server: StartServer) -> None:
    server = start_server(Response(), Response(disconnect=True), Response())
    with Client(server.url) as client:
        assert [client.predict("m", 7).found for _ in range(2)] == [True, True]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_responds_is_bounded_by_the_timeout(silent: str, call: ClientCall) -> None:
    with _lasts(0.5), pytest.raises(Unavailable, match=r"did not answer within 0\.5 s") as error:
        call(silent, "predict", "m", 7, settings={"timeout": 0.5})
    assert (error.value.code, error.value.status) == ("timeout", None)


def test_a_slow_response_body_is_bounded_by_the_timeout(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(Response(seconds_per_byte=0.05))
    with _lasts(0.5), pytest.raises(Unavailable, match=r"did not answer within 0\.5 s"):
        call(server.url, "predict", "m", 7, settings={"timeout": 0.5})


def test_all_attempts_together_are_bounded_by_the_timeout(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(error_response(503, "database_unavailable", Retry_After="1"), Response(seconds_per_byte=0.05))
    with _lasts(1.4), pytest.raises(Unavailable) as error:
        call(server.url, "predict", "m", 7, settings={"timeout": 1.4})
    assert len(server.requests) == 2
    # The retry was cut short, and says less than the attempt before it.
    assert (error.value.code, error.value.retry_after) == ("database_unavailable", 1)


def test_each_phase_may_take_the_time_that_is_left() -> None:
    budget = Budget(0.2)
    at_first = dict(budget)
    time.sleep(0.1)
    assert list(at_first) == ["connect", "read", "write", "pool"]
    assert 0.1 < at_first["connect"] <= 0.2
    assert 0 < budget["read"] <= 0.1
    time.sleep(0.15)
    assert (budget.left(), budget["read"]) == (0, 0.001)
    with pytest.raises(KeyError):
        budget["other"]


def test_waiting_for_a_retry_does_not_block_other_tasks(start_server: StartServer) -> None:
    server = start_server(*[error_response(503, "database_unavailable", Retry_After="1")] * 5, Response())

    async def look_up_concurrently() -> list[Answer]:
        async with AsyncClient(server.url) as client:
            return await asyncio.gather(*(client.predict("m", 7) for _ in range(5)))

    # One after the other would take five seconds.
    with _lasts(1, 5):
        assert [answer.found for answer in asyncio.run(look_up_concurrently())] == [True] * 5


@pytest.mark.parametrize(
    ("response", "error_class", "code"),
    [
        (error_response(401, "unauthenticated"), NotAllowed, "unauthenticated"),
        (error_response(403, "forbidden"), NotAllowed, "forbidden"),
        (error_response(404, "not_found"), Invalid, "not_found"),
        (error_response(405, "method_not_allowed"), Invalid, "method_not_allowed"),
        (error_response(413, "too_large"), Invalid, "too_large"),
        (error_response(422, "key_invalid"), Invalid, "key_invalid"),
        (error_response(500, "internal"), ApiError, "internal"),
        (error_response(503, "too_old", Retry_After="60"), TooOld, "too_old"),
        (error_response(503, "database_refused", Retry_After="60"), Unavailable, "database_refused"),
        (Response(429, b""), Unavailable, "http_429"),
        (Response(502, b"<html>bad gateway</html>"), Unavailable, "http_502"),
        (Response(504, b"\xff\xfe"), Unavailable, "http_504"),
        (Response(404, b"<html>not here</html>"), Invalid, "http_404"),
        (Response(301, b"", {"Location": "https://elsewhere.example"}), ApiError, "http_301"),
        (Response(200, b"<html>please log in</html>"), ApiError, "http_200"),
        (Response(200, {"answer": 42}), ApiError, "http_200"),
        (Response(200, [1]), ApiError, "http_200"),
        (Response(200, ANSWER | {"data_as_of": "yesterday"}), ApiError, "http_200"),
        (Response(500, {"error": "a text"}), ApiError, "http_500"),
    ],
)
def test_a_response_becomes_an_error_of_its_class(
    start_server: StartServer, call: ClientCall, response: Response, error_class: type[ApiError], code: str
) -> None:
    with pytest.raises(ApiError) as error:
        call(start_server(response).url, "predict", "m", 7)
    assert (type(error.value), error.value.code, error.value.status) == (error_class, code, response.status)
    if code == "http_301":
        assert "redirects to https://elsewhere.example, which is not followed" in str(error.value)
    elif code.startswith("http_"):
        assert "is not from prescore" in str(error.value)
    else:
        assert str(error.value) == f"It is {code}."


@pytest.mark.parametrize("method_and_arguments", [("models",), ("model", "m"), ("lookup", "m", []), ("ready",)])
def test_every_call_reports_a_response_that_is_not_from_prescore(
    start_server: StartServer, call: ClientCall, method_and_arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ApiError, match="is not from prescore"):
        call(start_server(Response(200, b"hello")).url, *method_and_arguments)


def test_ready_is_not_retried(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(error_response(503, "database_unavailable", Retry_After="1"))
    assert call(server.url, "ready") is False
    assert len(server.requests) == 1


def test_the_api_key_is_sent_and_never_shown(start_server: StartServer, call: ClientCall) -> None:
    server = start_server(error_response(401, "unauthenticated"))
    with pytest.raises(NotAllowed) as error:
        call(server.url, "predict", "m", 7, settings={"key": "psk_swordfish"})
    assert server.requests[0][2]["Authorization"] == "Bearer psk_swordfish"
    assert "swordfish" not in repr(error.value)
    with pytest.raises(NotAllowed):
        call(server.url, "predict", "m", 7)
    assert "Authorization" not in server.requests[1][2]


@pytest.mark.parametrize("key", ["psk_swordfish\n", "psk swordfish", "psk_ü"])
def test_an_api_key_with_an_impossible_character_is_rejected(call: ClientCall, key: str) -> None:
    with pytest.raises(ValueError, match="The API key contains a character that no key has") as error:
        call("http://127.0.0.1:1", "models", settings={"key": key})
    assert "swordfish" not in str(error.value)
    with pytest.raises(ValueError, match="The API key is empty"):
        call("http://127.0.0.1:1", "models", settings={"key": ""})


def test_a_url_with_credentials_excludes_an_api_key(call: ClientCall) -> None:
    with pytest.raises(ValueError, match="A request can carry only one of them"):
        call("http://name:word@127.0.0.1:1", "models", settings={"key": "psk_swordfish"})


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "ftp://x", "http://", "", "/v1"])
def test_a_url_without_http_or_host_is_rejected(call: ClientCall, url: str) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        call(url, "models")


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"timeout": -1}, {"retries": -1}])
def test_an_impossible_timeout_or_number_of_retries_is_rejected(call: ClientCall, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be more than 0 seconds"):
        call("http://127.0.0.1:1", "models", settings=settings)


@pytest.mark.parametrize("prefix", ["/scores", "/scores/"])
def test_the_api_may_be_behind_a_path_prefix(start_server: StartServer, call: ClientCall, prefix: str) -> None:
    server = start_server(Response())
    call(server.url + prefix, "predict", "m/n", "a/b", version=3, max_age=1e-7, outputs=["x y", "z"])
    call(server.url + prefix, "predict", "m", {"a b": "c&d", "e": "+"}, max_age=86400.0)
    assert [target for _, target, _, _ in server.requests] == [
        "/scores/v1/predictions/m%2Fn/a%2Fb?version=3&max_age=0.0000001&output=x%20y&output=z",
        "/scores/v1/predictions/m?a%20b=c%26d&e=%2B&max_age=86400",
    ]


def test_unknown_fields_of_a_newer_server_are_ignored(start_server: StartServer, call: ClientCall) -> None:
    answer_json = ANSWER | {"published_at": None, "confidence": 1}
    answer = call(start_server(Response(body=answer_json)).url, "predict", "m", 7)
    assert answer.published_at is None
    assert answer == Answer.from_json(answer_json)
    assert not hasattr(answer, "confidence")


def test_errors_and_answers_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(Unavailable("database_unavailable", "Gone.", 503, 1.0)))
    assert (type(error), str(error), error.code, error.status, error.retry_after) == (
        Unavailable, "Gone.", "database_unavailable", 503, 1.0,
    )  # fmt: skip
    answer = Answer.from_json(json.loads(json.dumps(ANSWER)))
    assert pickle.loads(pickle.dumps(answer)) == answer
