"""An S3 server (moto) over HTTP on 127.0.0.1: one server per session, one bucket per test."""

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
"""Environment variables that point boto3 and fsspec at the server."""
_numbers = itertools.count()


@dataclass
class Server:
    """The URL of the server and the lines of its log, one per request."""

    url: str
    lines: SimpleQueue[str]


@dataclass
class S3:
    """A bucket of one test."""

    server: Server
    name: str
    client: Any

    @property
    def url(self) -> str:
        """Return the URL of a store in the bucket, as in prescore.toml."""
        return f"s3://{self.name}/team/predictions"

    def objects(self) -> list[str]:
        """Return the names of the objects in the store."""
        contents = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [item["Key"].removeprefix("team/predictions/") for item in contents]

    def put(self, name: str, content: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.name, Key=f"team/predictions/{name}", Body=content)

    def get(self, name: str) -> bytes:
        """Return the content of an object."""
        return bytes(self.client.get_object(Bucket=self.name, Key=f"team/predictions/{name}")["Body"].read())

    def remove(self, name: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=self.name, Key=f"team/predictions/{name}")

    def deny(self, action: str) -> None:
        """Deny an action, such as s3:PutObject, to every user."""
        denied = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{self.name}/*"}
        self.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps({"Statement": [denied]}))

    def requests(self) -> list[str]:
        """Return the method and path of every request since the last call."""
        mark = f"mark-{next(_numbers)}"
        self.client.list_objects_v2(Bucket=self.name, Prefix=mark)
        lines = iter(self.server.lines.get, None)
        requests = []
        for line in itertools.takewhile(lambda line: mark not in line, lines):
            match = re.search(r"[A-Z]+ /\S+", line)
            if match is not None:
                requests.append(match[0])
        return requests


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """Start the server; yield it, and stop it at the end of the session."""
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(m for line in process.stderr if (m := re.search(r"Running on (http://[\d.:]+)", line)))
        server = Server(address[1], SimpleQueue())
        reader = threading.Thread(target=lambda lines: [*map(server.lines.put, lines)], args=[process.stderr])
        reader.start()
        yield server
        process.terminate()
        reader.join()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    """Return a new bucket, and set the environment to use it. Temporary files go to a folder of the test."""
    none = str(tmp_path / "none")
    # One attempt, so that a test of an unreachable server does not wait for retries.
    values = (s3_server.url, "key", "secret", "us-east-1", "true", "1", none, none)
    for name, value in zip(AWS, values, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    bucket = S3(s3_server, f"bucket-{next(_numbers)}", boto3.client("s3"))
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket
