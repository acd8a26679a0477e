"""A real S3 over HTTP on 127.0.0.1: one server a session, one bucket a test."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import boto3
import pytest

AWS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_MAX_ATTEMPTS",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
)
"""The environment that leads to it."""
_numbers = itertools.count()


@dataclass
class Server:
    """Where it listens, and the lines that it logs: one a request."""

    url: str
    lines: SimpleQueue[str]


@dataclass
class S3:
    """A bucket of a test's own."""

    server: Server
    name: str
    client: Any

    @property
    def url(self) -> str:
        """What prescore.toml calls a store in it."""
        return f"s3://{self.name}/team/predictions"

    def objects(self) -> list[str]:
        """The names of a store's objects."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [item["Key"].removeprefix("team/predictions/") for item in found]

    def put(self, name: str, content: bytes) -> None:
        """Write one."""
        self.client.put_object(Bucket=self.name, Key=f"team/predictions/{name}", Body=content)

    def get(self, name: str) -> bytes:
        """Read one."""
        return bytes(self.client.get_object(Bucket=self.name, Key=f"team/predictions/{name}")["Body"].read())

    def remove(self, name: str) -> None:
        """Remove one."""
        self.client.delete_object(Bucket=self.name, Key=f"team/predictions/{name}")

    def deny(self, action: str) -> None:
        """Let nobody do this."""
        denied = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{self.name}/*"}
        self.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps({"Statement": [denied]}))

    def requests(self) -> list[str]:
        """What was asked of the server since the last call."""
        mark = f"mark-{next(_numbers)}"
        self.client.list_objects_v2(Bucket=self.name, Prefix=mark)
        lines = iter(self.server.lines.get, None)
        asked = itertools.takewhile(lambda line: mark not in line, lines)
        return [found[0] for line in asked if (found := re.search(r"[A-Z]+ /\S+", line))]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """The server."""
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = next(found for line in process.stderr if (found := re.search(r"Running on (http://[\d.:]+)", line)))
        server = Server(found[1], SimpleQueue())
        reader = threading.Thread(target=lambda lines: [*map(server.lines.put, lines)], args=[process.stderr])
        reader.start()
        yield server
        process.terminate()
        reader.join()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    """A bucket, and the environment that leads to it; temporary files are the test's own."""
    none = str(tmp_path / "none")
    # One attempt: what is not there need not be asked again.
    values = (s3_server.url, "key", "secret", "us-east-1", "true", "1", none, none)
    for name, value in zip(AWS, values, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    made = S3(s3_server, f"bucket-{next(_numbers)}", boto3.client("s3"))
    made.client.create_bucket(Bucket=made.name)
    return made
