"""Connections below what an app can see: order, limits, ignored upgrades, and what this takes from uvicorn."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httptools
import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server
from uvicorn.supervisors import Multiprocess

from fix_api import OPEN, SCORE, Shelf, fresh_database, scraped, serving
from prescore_api.http import request as request_module
from prescore_api.http import server
from prescore_api.http.app import build

_BODY = b'{"keys":[{"k":3}]}'
_POST = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
_H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
UPGRADES = {
    "h2c": _H2C,
    "websocket": b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
    "tls": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "garbage": b"Upgrade: \xff,,; q=1\r\nConnection: upgrade\r\n",
    "several": b"Upgrade: h2c\r\nUpgrade: IRC/6.9, RTA/x11\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
}
# A request inside a body. If it is ever parsed as a separate request, there are three responses and key 4 in one.
_SMUGGLED = b"GET /v1/predictions/m/4 HTTP/1.1\r\nHost: x\r\n\r\n"
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int k = 1; k <= 3; k++) {
            String body = "{\\"keys\\":[{\\"k\\":" + k + "}]}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/predictions/m/lookup"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.version() + " " + response.body());
        }
    }
}
"""
NODE = """
const client = require("http2").connect(process.argv[1]);
client.on("goaway", (code, stream, message) => console.log(code, String(message)));
client.on("error", () => {});
"""


@pytest.fixture(scope="module")
def served(server: str) -> Iterator[httpx.Client]:
    """A server that tests share; its model m has the keys 1 to 4."""
    with fresh_database(server) as database, serving(build(database, OPEN)) as client:
        Shelf(database).publish("m", {"k": "bigint"}, [(k, k / 4) for k in range(1, 5)], SCORE)
        assert client.get("/v1/predictions/m/1").status_code == 200
        yield client


def _connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), 10)


def _get(key: int, headers: bytes = b"") -> bytes:
    return b"GET /v1/predictions/m/%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (key, headers)


def _bulk(key: int, headers: bytes = b"", *, chunked: bool = False) -> bytes:
    body = b'{"keys":[{"k":%d}]}' % key
    start = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\n" + headers
    if not chunked:
        return start + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:], b"")]
    return start + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def _receive_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def _exchange(client: httpx.Client, *parts: bytes, pause: float = 0.0) -> tuple[list[bytes], list[bytes]]:
    """Send parts and read until the server closes the connection; return the statuses and the keys in answers."""
    with _connect(client) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = _receive_all(connection)
    return re.findall(rb"HTTP/1.1 (\d+)", received), re.findall(rb'"k":(\d)', received)


def test_pipelined_requests_are_answered_in_order(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(k, k / 4) for k in range(1, 5)])
    with _connect(client) as connection:
        post = _POST % len(_BODY) + _BODY
        connection.sendall(_get(1) + _get(9) + _get(2) + post + _get(4, b"Connection: close\r\n"))
        received = _receive_all(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")) == [
        b"200", b"404", b"200", b"200", b"200",
    ]  # fmt: skip
    assert re.findall(rb'"k":(\d)', received) == [b"1", b"9", b"2", b"3", b"4"]


def test_a_large_answer_arrives_whole_before_the_connection_ends(shelf: Shelf, client: httpx.Client) -> None:
    shelf.publish("m", {"k": "bigint"}, [(1, 0.5)])
    response = client.post(
        "/v1/predictions/m/lookup", json={"keys": [{"k": 1}] * 10_000}, headers={"Connection": "close"}
    )
    assert len(response.json()["answers"]) == 10_000


@pytest.mark.parametrize("upgrade", [b"", _H2C])
def test_a_head_without_end_closes_the_connection(served: httpx.Client, upgrade: bytes) -> None:
    with _connect(served) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + upgrade + b"X-Long: ")
        with pytest.raises(OSError):  # noqa: PT011 # reset or broken pipe, as the system sees it
            connection.sendall(b"a" * (1 << 28))
    assert served.get("/health/live").status_code == 200


def test_repeated_headers_count_towards_the_limit(served: httpx.Client) -> None:
    response = served.get("/health/live", headers=[("X-A", "a" * 1000)] * 40)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert served.get(f"/v1/predictions/m/{'a' * 9000}").json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", ["whole", "head and body", "bytes"])
def test_an_offered_upgrade_is_ignored(served: httpx.Client, upgrade: bytes, chunked: bool, pieces: str) -> None:
    """The request is answered with its body, and the requests after it on the same connection are, too."""
    sent = [
        _bulk(1, upgrade, chunked=chunked),
        _get(2, upgrade),
        _bulk(3, upgrade, chunked=chunked),
        _get(4, upgrade + b"Connection: close\r\n"),
    ]
    if pieces == "whole":
        parts = [b"".join(sent)]
    elif pieces == "head and body":
        parts = [part for request in sent for part in re.split(rb"(?<=\r\n\r\n)", request, maxsplit=1) if part]
    else:
        parts = [bytes([byte]) for byte in b"".join(sent)]
    statuses, keys = _exchange(served, *parts, pause=0.01 if pieces == "head and body" else 0)
    assert (statuses, keys) == ([b"200"] * 4, [b"1", b"2", b"3", b"4"])


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_body_is_never_parsed_as_a_request(served: httpx.Client, upgrade: bytes, pause: float) -> None:
    body_length = b"Content-Length: %d\r\n\r\n" % len(_SMUGGLED)
    head = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\n" + upgrade + body_length
    last = _get(1, b"Connection: close\r\n")
    statuses, keys = _exchange(served, head, _SMUGGLED, last, pause=pause)
    # The body is not valid JSON; the request after it is answered.
    assert (statuses, keys) == ([b"422", b"200"], [b"1"])


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunk\r\n ed\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Content-Length: 1\r\n 0\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length : 3\r\n",
        b"X: a\nContent-Length: 3\r\n",
    ],
)
def test_an_upgrade_changes_nothing_about_ambiguous_framing(served: httpx.Client, framing: bytes) -> None:
    """What a server and a proxy could read differently is treated like the same request without an upgrade."""

    def outcome(upgrade: bytes) -> tuple[list[bytes], list[bytes]]:
        start = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\n"
        rest = b"0\r\n\r\n" + _get(1, b"Connection: close\r\n")
        return _exchange(served, start + upgrade + framing + b"\r\n" + rest)

    assert outcome(_H2C) == outcome(b"")


def test_an_upgrade_after_100_continue_is_ignored(served: httpx.Client) -> None:
    with _connect(served) as connection:
        head, body = _bulk(3, _H2C + b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b'"k":3' in connection.recv(65536)


def _responses(received: bytes) -> list[tuple[int, bytes]]:
    """Split what a server has sent into statuses and bodies."""
    responses = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        size = int(found[1]) if found else 0
        responses.append((int(head.split()[1]), received[:size]))
        received = received[size:]
    return responses


@pytest.mark.parametrize(
    "malformed",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["tls", "0.9", "version", "space", "header", "chunk", "byte", "no path"],
)
def test_what_is_not_http_is_400_like_every_error_and_counted(served: httpx.Client, malformed: bytes) -> None:
    """It comes after the responses to the requests before it, and the connection ends."""
    labels = {"route": "none", "status": "400"}
    before = scraped(served, "prescore_http_requests_total", **labels) or 0
    for requests in ([], [_get(1)], [_get(1), _bulk(2), _get(3)]):
        with _connect(served) as connection:
            connection.sendall(b"".join(requests) + malformed)
            connection.sendall(_get(4))
            *responses, (status, body) = _responses(_receive_all(connection))
        assert [status for status, _ in responses] == [200] * len(requests)
        assert re.findall(rb'"k":(\d)', b"".join(body for _, body in responses)) == [b"1", b"2", b"3"][: len(requests)]
        assert (status, json.loads(body)["error"]["code"]) == (400, "malformed")
    assert scraped(served, "prescore_http_requests_total", **labels) == before + 3


def test_a_client_that_is_still_sending_receives_the_400(served: httpx.Client) -> None:
    """If the server closed the connection at once, the system would reset it."""
    with _connect(served) as connection:
        connection.sendall(b"not HTTP\r\n\r\n" + b"x" * 1_000_000)
        ((status, _),) = _responses(_receive_all(connection))
    assert status == 400


def test_a_malformed_body_ends_a_request_that_waits_for_it(served: httpx.Client) -> None:
    head = b"POST /v1/predictions/m/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    for before, expected in (([], [400]), ([_get(1)], [200, 400])):
        with _connect(served) as connection:
            connection.sendall(b"".join(before) + head + b"Expect: 100-continue\r\n\r\n")
            if not before:
                assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"xyz\r\n")
            statuses = [status for status, _ in _responses(_receive_all(connection)) if status != 100]
        assert statuses == expected


def test_a_body_that_never_ends_is_400(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "BODY_SECONDS", 0.2)
    with _connect(served) as connection:
        connection.sendall(_bulk(1)[:-1])
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"The body did not arrive within 0.2 seconds." in received


@pytest.mark.parametrize("host", [b"", b"Host: a\r\nHost: b\r\n"], ids=["none", "two"])
def test_a_request_without_one_host_is_400(served: httpx.Client, host: bytes) -> None:
    request = b"GET /health/live HTTP/1.1\r\n%bConnection: close\r\n\r\n" % host
    with _connect(served) as connection:
        connection.sendall(request)
        ((status, body),) = _responses(_receive_all(connection))
    assert (status, json.loads(body)["error"]["message"]) == (400, "A request needs one Host header.")
    # HTTP/1.0 has no hosts.
    statuses, _ = _exchange(served, b"GET /health/live HTTP/1.0\r\n\r\n")
    assert statuses == [b"200"]


def test_a_client_that_has_ended_its_side_is_answered(served: httpx.Client) -> None:
    for requests in ([_get(1)], [_bulk(1), _get(2), _bulk(3)]):
        with _connect(served) as connection:
            connection.sendall(b"".join(requests))
            connection.shutdown(socket.SHUT_WR)
            received = _receive_all(connection)
        assert re.findall(rb'"k":(\d)', received) == [b"1", b"2", b"3"][: len(requests)]
    for incomplete in (b"", _get(1)[:-2], _bulk(1)[:-2]):
        with _connect(served) as connection:
            connection.sendall(incomplete)
            connection.shutdown(socket.SHUT_WR)
            assert _receive_all(connection) == b""


def test_http_1_0_keeps_a_connection_on_request(served: httpx.Client) -> None:
    """As ApacheBench does with -k."""
    path = b"GET /v1/predictions/m/%d HTTP/1.0\r\n%b\r\n"
    kept = b"Connection: Keep-Alive\r\n"
    statuses, keys = _exchange(served, path % (1, kept) + path % (2, kept) + path % (3, b""))
    assert (statuses, keys) == ([b"200"] * 3, [b"1", b"2", b"3"])
    with _connect(served) as connection:
        connection.sendall(path % (1, kept))
        assert b"connection: keep-alive\r\n" in connection.recv(65536)


def test_a_coding_of_a_transfer_that_is_not_known_is_415(served: httpx.Client) -> None:
    request = _bulk(1, b"Connection: close\r\n", chunked=True).replace(b": chunked", b": gzip, chunked")
    with _connect(served) as connection:
        connection.sendall(request)
        ((status, body),) = _responses(_receive_all(connection))
    assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_media_type")


def test_an_idle_connection_outlives_those_of_a_load_balancer(shelf: Shelf) -> None:
    """nginx and AWS keep connections for 60 s. The server must not be the first to close one."""
    assert server.uvicorn_config(lambda: None).timeout_keep_alive == 75
    with serving(build(shelf.database, OPEN), server.Listening(keep_alive=1)) as client:
        for sent in (b"\r\n", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n\r\n"):
            with _connect(client) as connection:
                connection.sendall(sent)
                statuses = [status for status, _ in _responses(_receive_all(connection))]
            assert statuses == [200] * sent.count(b"GET")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/predictions%2Fm/1", 404),
        ("/v1/predictions/m%2F1", 404),
        ("/v1%2Fpredictions/m/1", 404),
        ("/v1/%70redictions/m/1", 404),
        ("/v1/predictions/%6d/1", 404),
        ("/%76%31/models", 404),
        ("/health%2Flive", 404),
        ("/v1/predictions/m/%31", 200),
        ("/v1/predictions/m/1%ZZ", 422),
        ("/v1/predictions/m/1%", 422),
        ("/v1/predictions/m?k=1%Z", 422),
        ("/v1/predictions/m?k=%31", 200),
        ("/v1/models?%", 422),
    ],
)
def test_a_path_has_one_spelling_and_no_malformed_escapes(served: httpx.Client, path: str, status: int) -> None:
    """A proxy that restricts access by the beginning of a path would let the other spellings pass."""
    with _connect(served) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        ((received, body),) = _responses(_receive_all(connection))
    assert received == status, body


def test_connect_closes_the_connection(served: httpx.Client) -> None:
    connect = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"
    statuses, keys = _exchange(served, connect + _get(1))
    assert (statuses, keys) == ([b"400"], [])


def test_many_upgrades_at_once_are_answered_in_order(served: httpx.Client) -> None:
    requests = [_get(1 + number % 4, _H2C) for number in range(400)] + [_get(4, b"Connection: close\r\n")]
    statuses, keys = _exchange(served, b"".join(requests))
    assert statuses == [b"200"] * 401
    assert keys == [b"%d" % (1 + number % 4) for number in range(400)] + [b"4"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_with_http2_posts_its_body(served: httpx.Client) -> None:
    url = f"{served.base_url}/v1/predictions/m/lookup"
    command = ["curl", "--silent", "--show-error", "--http2", "--write-out", " %{http_version} %{num_connects}\n"]
    requests = [["-d", f'{{"keys":[{{"k":{k}}}]}}', url] for k in (1, 2, 3)]
    arguments = [argument for request in requests for argument in ("--next", *command[1:], *request)][1:]
    result = subprocess.run([command[0], *arguments], check=True, capture_output=True, text=True, timeout=30)
    lines = result.stdout.splitlines()
    assert [re.findall(r'"k":(\d)', line) for line in lines] == [["1"], ["2"], ["3"]], result.stdout
    # All on one connection.
    assert [line.split()[-2:] for line in lines] == [["1.1", "1"], ["1.1", "0"], ["1.1", "0"]]


def test_a_client_that_speaks_http2_at_once_is_refused_in_http2(served: httpx.Client) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = bytes.fromhex("000000 04 00 00000000")
    message = b"This server speaks HTTP/1.1."
    goaway = bytes.fromhex("000024 07 00 00000000 00000000 0000000d") + message
    with _connect(served) as connection:
        connection.sendall(preface + settings)
        assert _receive_all(connection) == settings + goaway
    assert len(message) + 8 == 0x24


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js on this machine")
def test_node_reports_that_it_must_not_speak_http2(served: httpx.Client) -> None:
    result = subprocess.run(
        ["node", "-e", NODE, str(served.base_url)], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "13 This server speaks HTTP/1.1.\n", result.stderr


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no JDK on this machine")
def test_the_http_client_of_the_jdk_posts_its_body(served: httpx.Client, tmp_path: Path) -> None:
    source = tmp_path / "Post.java"
    source.write_text(JAVA)
    command = ["java", str(source), str(served.base_url).rstrip("/")]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    statuses, versions, bodies = zip(*(line.split(" ", 2) for line in result.stdout.splitlines()), strict=True)
    assert statuses == ("200",) * 3
    assert versions == ("HTTP_1_1",) * 3
    assert [json.loads(body)["answers"][0]["key"]["k"] for body in bodies] == [1, 2, 3]


OVERRIDDEN = {
    HttpToolsProtocol: {
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_headers_complete": ["self"],
        "on_message_complete": ["self"],
        "on_response_complete": ["self"],
        "eof_received": ["self"],
        "shutdown": ["self"],
    },
    Server: {"shutdown": ["self", "sockets"]},
    Multiprocess: {"terminate_all": ["self"], "keep_subprocess_alive": ["self"]},
}
USED = {
    HttpToolsProtocol: ["_unset_keepalive_if_required", "timeout_keep_alive_handler"],
    RequestResponseCycle: ["run_asgi", "send", "receive"],
    httptools.HttpRequestParser: [
        "feed_data", "get_http_version", "get_method", "set_dangerous_leniencies", "should_keep_alive",
        "should_upgrade",
    ],
}  # fmt: skip


@pytest.mark.parametrize("owner", OVERRIDDEN, ids=lambda owner: owner.__name__)
def test_uvicorn_still_has_what_is_overridden(owner: type) -> None:
    """If this fails, uvicorn has changed: read its new code, adapt http/connections.py or http/server.py, then this."""
    for name, parameters in OVERRIDDEN[owner].items():
        method = getattr(owner, name, None)
        assert method is not None, f"{owner.__name__}.{name} is gone"
        assert list(inspect.signature(method).parameters) == parameters, (
            f"{owner.__name__}.{name} takes other arguments"
        )


@pytest.mark.parametrize("owner", USED, ids=lambda owner: owner.__name__)
def test_uvicorn_still_has_what_is_used(owner: type) -> None:
    missing = [name for name in USED[owner] if not hasattr(owner, name)]
    assert not missing, f"{owner.__name__} lacks {', '.join(missing)}: adapt http/connections.py"


def test_uvicorn_still_works_as_connections_assumes() -> None:
    """Fails when uvicorn changes code that Connection replaces or depends on: compare it with http/connections.py."""
    received = inspect.getsource(HttpToolsProtocol.data_received)
    # Connection.data_received does the same, except for upgrades, and for empty lines while the connection is idle.
    assert "self._unset_keepalive_if_required()" in received
    assert "self.parser.feed_data(data)" in received
    completed = inspect.getsource(HttpToolsProtocol.on_response_complete)
    # Connection.on_response_complete ends the connection after the last of them.
    assert "if self.pipeline:" in completed
    assert "self.timeout_keep_alive_task = self.loop.call_later(" in completed
    pipelined = inspect.getsource(HttpToolsProtocol.on_headers_complete)
    # Connection._refuse removes the newest.
    assert "self.pipeline.appendleft((self.cycle, app))" in pipelined
    created = inspect.getsource(HttpToolsProtocol.__init__)
    # Connection._restart_without_upgrade creates the same parser.
    assert "self.parser = httptools.HttpRequestParser(self)" in created
    assert "self.parser.set_dangerous_leniencies(lenient_data_after_close=True)" in created
    begun = inspect.getsource(HttpToolsProtocol.on_message_begin)
    # A head that is parsed again starts with no headers and no URL.
    assert 'self.url = b""' in begun
    assert "self.headers = []" in begun
    cycle = inspect.getsource(RequestResponseCycle.__init__)
    for part in ("keep_alive", "default_headers", "disconnected", "message_event", "more_body", "response_complete"):
        assert f"self.{part}" in cycle
    for part in ("app_state", "transport", "server_state", "cycle", "pipeline", "timeout_keep_alive"):
        assert f"self.{part}" in created
