"""The Python client when things go wrong: what it tries again, for how long, and what it makes of what it hears."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from fix_client import ANSWER, Asking, Said, Scripted, failed
from prescore_api.client import Answer, ApiError, AsyncClient, Client, Invalid, NotAllowed, TooOld, Unavailable
from prescore_api.client.attempts import Budget

Start = Callable[..., Scripted]
AWAY = failed(503, "database_unavailable", Retry_After="0")


@contextmanager
def _within(least: float, most: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began < most


def test_what_the_server_wants_to_be_asked_again_is_asked_again(scripted: Start, ask: Asking) -> None:
    server = scripted(failed(503, "database_unavailable", Retry_After="1"), Said())
    with _within(1.0, 2.0):
        assert ask(server.url, "predict", "m", 7)["score"] == 0.5
    assert len(server.asked) == 2
    assert server.at[1] - server.at[0] >= 1.0


def test_a_lookup_is_a_read_and_asked_again_too(scripted: Start, ask: Asking) -> None:
    server = scripted(AWAY, Said(body={"answers": [ANSWER]}))
    assert ask(server.url, "lookup", "m", [{"k": 7}])[0]["score"] == 0.5
    assert [(method, body) for method, _, _, body in server.asked] == [("POST", b'{"keys":[{"k":7}]}')] * 2


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_so_many_times_and_no_more(scripted: Start, ask: Asking, retries: int) -> None:
    server = scripted(AWAY)
    with pytest.raises(Unavailable) as error:
        ask(server.url, "predict", "m", 7, settings={"retries": retries})
    assert (error.value.code, error.value.status, error.value.retry_after) == ("database_unavailable", 503, 0)
    assert len(server.asked) == retries + 1


@pytest.mark.parametrize(
    "said",
    [
        failed(503, "database_unavailable", Retry_After="3"),
        failed(503, "database_unavailable"),
        failed(503, "database_unavailable", Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"),
        failed(503, "too_old", Retry_After="1"),
        failed(500, "internal", Retry_After="1"),
        failed(404, "not_found"),
        failed(401, "unauthenticated"),
    ],
)
def test_what_asking_again_cannot_mend_is_asked_once(scripted: Start, ask: Asking, said: Said) -> None:
    server = scripted(said)
    with _within(0, 0.9), pytest.raises(ApiError):
        ask(server.url, "predict", "m", 7)
    assert len(server.asked) == 1


def test_nobody_waits_for_what_would_come_too_late(scripted: Start, ask: Asking) -> None:
    server = scripted(failed(503, "database_unavailable", Retry_After="1"))
    with _within(0, 0.7), pytest.raises(Unavailable, match="database_unavailable") as error:
        ask(server.url, "predict", "m", 7, settings={"timeout": 0.8})
    assert error.value.retry_after == 1


def test_a_lost_connection_is_tried_again(scripted: Start, ask: Asking) -> None:
    server = scripted(Said(cut=True), Said(cut=True), Said())
    assert ask(server.url, "predict", "m", 7)["score"] == 0.5
    assert len(server.asked) == 3


def test_one_that_is_lost_for_good_is_told(scripted: Start, ask: Asking) -> None:
    server = scripted(Said(cut=True))
    with pytest.raises(Unavailable, match=f"^{server.url} cannot be reached: ") as error:
        ask(server.url, "predict", "m", 7)
    assert (error.value.code, error.value.status, len(server.asked)) == ("unreachable", None, 3)


def test_a_server_that_is_not_there(ask: Asking) -> None:
    # Pauses of 0.1 and 0.2 s.
    with _within(0.3, 2), pytest.raises(Unavailable) as error:
        ask("http://name:swordfish@127.0.0.1:1/prefix", "predict", "m", 7)
    assert str(error.value).startswith("http://127.0.0.1:1 cannot be reached: ")
    assert isinstance(error.value.__cause__, httpx.ConnectError)


def test_so_is_one_that_was_kept_and_is_lost_when_it_is_used_again(scripted: Start) -> None:
    server = scripted(Said(), Said(cut=True), Said())
    with Client(server.url) as client:
        assert [client.predict("m", 7).found for _ in range(2)] == [True, True]


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_silent_server_takes_no_longer_than_the_timeout(silent: str, ask: Asking) -> None:
    with _within(0.5, 0.9), pytest.raises(Unavailable, match=r"did not answer within 0\.5 s") as error:
        ask(silent, "predict", "m", 7, settings={"timeout": 0.5})
    assert (error.value.code, error.value.status) == ("timeout", None)


def test_a_server_that_trickles_takes_no_longer_either(scripted: Start, ask: Asking) -> None:
    server = scripted(Said(seconds=0.05))
    with _within(0.5, 0.9), pytest.raises(Unavailable, match=r"did not answer within 0\.5 s"):
        ask(server.url, "predict", "m", 7, settings={"timeout": 0.5})


def test_all_attempts_together_take_no_longer_either(scripted: Start, ask: Asking) -> None:
    server = scripted(failed(503, "database_unavailable", Retry_After="1"), Said(seconds=0.05))
    with _within(1.4, 1.8), pytest.raises(Unavailable, match=r"did not answer within 1\.4 s"):
        ask(server.url, "predict", "m", 7, settings={"timeout": 1.4})
    assert len(server.asked) == 2


def test_each_phase_is_given_what_is_left() -> None:
    budget = Budget(0.2)
    before = dict(budget)
    time.sleep(0.1)
    assert list(before) == ["connect", "read", "write", "pool"]
    assert 0.1 < before["connect"] <= 0.2
    assert 0 < budget["read"] <= 0.1
    time.sleep(0.15)
    assert (budget.left(), budget["read"]) == (0, 0.001)
    with pytest.raises(KeyError):
        budget["other"]


def test_tasks_go_on_while_one_waits(scripted: Start) -> None:
    server = scripted(*[failed(503, "database_unavailable", Retry_After="1")] * 5, Said())

    async def all_at_once() -> list[Answer]:
        async with AsyncClient(server.url) as client:
            return await asyncio.gather(*(client.predict("m", 7) for _ in range(5)))

    with _within(1, 2):
        assert [answer.found for answer in asyncio.run(all_at_once())] == [True] * 5


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (failed(401, "unauthenticated"), NotAllowed, "unauthenticated"),
        (failed(403, "forbidden"), NotAllowed, "forbidden"),
        (failed(404, "not_found"), Invalid, "not_found"),
        (failed(405, "method_not_allowed"), Invalid, "method_not_allowed"),
        (failed(413, "too_large"), Invalid, "too_large"),
        (failed(422, "key_invalid"), Invalid, "key_invalid"),
        (failed(500, "internal"), ApiError, "internal"),
        (failed(503, "too_old", Retry_After="60"), TooOld, "too_old"),
        (failed(503, "database_refused", Retry_After="60"), Unavailable, "database_refused"),
        (Said(429, b""), Unavailable, "http_429"),
        (Said(502, b"<html>bad gateway</html>"), Unavailable, "http_502"),
        (Said(504, b"\xff\xfe"), Unavailable, "http_504"),
        (Said(404, b"<html>not here</html>"), Invalid, "http_404"),
        (Said(301, b"", {"Location": "https://elsewhere.example"}), ApiError, "http_301"),
        (Said(200, b"<html>please log in</html>"), ApiError, "http_200"),
        (Said(200, {"answer": 42}), ApiError, "http_200"),
        (Said(200, [1]), ApiError, "http_200"),
        (Said(200, ANSWER | {"data_as_of": "yesterday"}), ApiError, "http_200"),
        (Said(500, {"error": "a text"}), ApiError, "http_500"),
    ],
)
def test_what_is_heard_is_told(scripted: Start, ask: Asking, said: Said, kind: type[ApiError], code: str) -> None:
    with pytest.raises(ApiError) as error:
        ask(scripted(said).url, "predict", "m", 7)
    assert (type(error.value), error.value.code, error.value.status) == (kind, code, said.status)
    if code.startswith("http_"):
        assert "is not from prescore" in str(error.value)
    else:
        assert str(error.value) == f"It is {code}."


@pytest.mark.parametrize("call", [("models",), ("model", "m"), ("lookup", "m", []), ("ready",)])
def test_any_call_may_hear_nonsense(scripted: Start, ask: Asking, call: tuple[Any, ...]) -> None:
    with pytest.raises(ApiError, match="is not from prescore"):
        ask(scripted(Said(200, b"hello")).url, *call)


def test_ready_does_not_wait(scripted: Start, ask: Asking) -> None:
    server = scripted(failed(503, "database_unavailable", Retry_After="1"))
    with _within(0, 0.9):
        assert ask(server.url, "ready") is False
    assert len(server.asked) == 1


def test_the_key_is_sent_and_never_told(scripted: Start, ask: Asking) -> None:
    server = scripted(failed(401, "unauthenticated"))
    with pytest.raises(NotAllowed) as error:
        ask(server.url, "predict", "m", 7, settings={"key": "psk_swordfish"})
    assert server.asked[0][2]["Authorization"] == "Bearer psk_swordfish"
    assert "swordfish" not in repr(error.value)
    with pytest.raises(NotAllowed):
        ask(server.url, "predict", "m", 7)
    assert "Authorization" not in server.asked[1][2]


@pytest.mark.parametrize("key", ["psk_swordfish\n", "psk swordfish", "psk_ü", ""])
def test_a_key_that_can_be_none(ask: Asking, key: str) -> None:
    with pytest.raises(ValueError, match="The API key contains a character that no key has") as error:
        ask("http://127.0.0.1:1", "models", settings={"key": key})
    assert "swordfish" not in str(error.value)


def test_a_name_in_the_url_would_take_the_keys_place(ask: Asking) -> None:
    with pytest.raises(ValueError, match="A request can carry only one of them"):
        ask("http://name:word@127.0.0.1:1", "models", settings={"key": "psk_swordfish"})


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "ftp://x", "http://", "", "/v1"])
def test_a_url_that_is_none(ask: Asking, url: str) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        ask(url, "models")


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"timeout": -1}, {"retries": -1}])
def test_bounds_that_are_none(ask: Asking, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be more than 0 seconds"):
        ask("http://127.0.0.1:1", "models", settings=settings)


@pytest.mark.parametrize("prefix", ["/scores", "/scores/"])
def test_an_api_behind_a_prefix(scripted: Start, ask: Asking, prefix: str) -> None:
    server = scripted(Said())
    ask(server.url + prefix, "predict", "m/n", "a/b", version=3, max_age=1e-7, outputs=["x y", "z"])
    ask(server.url + prefix, "predict", "m", {"a b": "c&d", "e": "+"}, max_age=86400.0)
    assert [target for _, target, _, _ in server.asked] == [
        "/scores/v1/predictions/m%2Fn/a%2Fb?version=3&max_age=0.0000001&output=x%20y&output=z",
        "/scores/v1/predictions/m?a%20b=c%26d&e=%2B&max_age=86400",
    ]


def test_what_a_newer_server_tells_besides_is_left_out(scripted: Start, ask: Asking) -> None:
    said = ANSWER | {"published_at": None, "confidence": 1}
    answer = ask(scripted(Said(body=said)).url, "predict", "m", 7)
    assert answer.published_at is None
    assert answer == Answer.from_json(said)
    assert not hasattr(answer, "confidence")


def test_errors_and_answers_go_between_processes() -> None:
    error = pickle.loads(pickle.dumps(Unavailable("database_unavailable", "Gone.", 503, 1.0)))
    assert (type(error), str(error), error.code, error.status, error.retry_after) == (
        Unavailable, "Gone.", "database_unavailable", 503, 1.0,
    )  # fmt: skip
    answer = Answer.from_json(json.loads(json.dumps(ANSWER)))
    assert pickle.loads(pickle.dumps(answer)) == answer
