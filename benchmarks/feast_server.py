"""Feast's feature server under the same load, in its own environment, on an existing Postgres:

    python3 -m venv feast && feast/bin/pip install 'feast[postgres]==0.66.0'
    feast/bin/python benchmarks/feast_server.py "$(prescore db url)"

One feature view of 100,000 entities with one feature, in Feast's online store for Postgres, served by `feast serve`
with its defaults. wrk requests one entity at a time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROWS, PORT = 100_000, 6567
_STORE = """project: lookups
registry: registry.db
provider: local
entity_key_serialization_version: 3
offline_store: {{type: file}}
online_store:
  type: postgres
  host: {host}
  port: {port}
  database: {database}
  db_schema: feast
  user: {user}
  password: ""
"""
_REQUESTS = """
math.randomseed(os.time())
request = function()
  local body = '{{"features": ["predictions:probability"], "entities": {{"id": [' .. math.random(1, {rows}) .. ']}}}}'
  return wrk.format("POST", "/get-online-features", {{["Content-Type"] = "application/json"}}, body)
end
"""


def main() -> None:
    """Fill the store, serve it, and measure requests."""
    with tempfile.TemporaryDirectory(prefix="feast-") as folder:
        root = Path(folder)
        _fill(root, sys.argv[1])
        feast = str(Path(sys.executable).with_name("feast"))
        server = subprocess.Popen([feast, "serve", "--port", str(PORT), "--no-access-log"], cwd=root)
        try:
            _await(f"http://127.0.0.1:{PORT}/health")
            for connections in (16, 64):
                (root / "requests.lua").write_text(_REQUESTS.format(rows=ROWS))
                command = ["wrk", "-t1", f"-c{connections}", "-d8s", "--latency", "-s", str(root / "requests.lua")]
                subprocess.run([*command, f"http://127.0.0.1:{PORT}"], check=True)
        finally:
            server.terminate()
            server.wait(20)


def _fill(root: Path, url: str) -> None:
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32

    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    database, user = parts.path.lstrip("/"), parts.username
    text = _STORE.format(host=host, port=parts.port or 5432, database=database, user=user)
    (root / "feature_store.yaml").write_text(text)
    rows = pd.DataFrame({"id": range(1, ROWS + 1), "probability": 0.5, "at": pd.Timestamp.now("UTC")})
    rows["probability"] = rows["probability"].astype("float32")
    rows.to_parquet(root / "rows.parquet")
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)
    source = FileSource(path=str(root / "rows.parquet"), timestamp_field="at")
    fields = [Field(name="probability", dtype=Float32)]
    view = FeatureView(name="predictions", entities=[entity], schema=fields, source=source, online=True)
    store = FeatureStore(repo_path=str(root))
    store.apply([entity, view])
    for start in range(0, ROWS, 10_000):
        store.write_to_online_store("predictions", rows[start : start + 10_000])


def _await(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.2)
    raise SystemExit("Feast's server did not answer within 60 seconds. See its output above.")


if __name__ == "__main__":
    main()
