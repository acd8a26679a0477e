"""Count what it takes until a churn score can be looked up by key, with prescore, Feast and drt.

    .venv/bin/python -m build --quiet --wheel && .venv/bin/python benchmarks/first_minutes.py

Each begins in an empty folder with a Parquet file of 10,000 customers and a model as ONNX, and follows its own
quickstart with the shortest files that work. Feast and drt don't score, so they begin with a script that does. drt gets
a Postgres that is running, and psql. Packages are in uv's cache. Every lookup must return the score that the model
predicts.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

import prescore

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SCORE = """\
import onnxruntime as ort
import pandas as pd

customers = pd.read_parquet("data/customers.parquet")
features = customers[["visits", "spend"]].to_numpy("float32")
chances = ort.InferenceSession("models/churn.onnx").run(["probabilities"], {"features": features})[0][:, 1]
"""


@dataclass(frozen=True)
class Way:
    """A tool's way to a score that can be looked up: what to install, which files to write, which commands to run."""

    tool: str
    packages: tuple[str, ...]
    files: dict[str, str]
    commands: tuple[str, ...]

    @property
    def lines(self) -> int:
        """The lines to write that are not blank."""
        return sum(bool(line.strip()) for text in self.files.values() for line in text.splitlines())


def ways() -> list[Way]:
    """Return the ways, with the wheel that was built last."""
    (wheel,) = (ROOT / "dist").glob("prescore-*.whl")
    return [
        Way(
            "prescore",
            (f"{wheel}[jobs,embedded]",),
            {},
            (
                "prescore init churn --model models/churn.onnx --data data/customers.parquet --key customer_id",
                "prescore run churn",
                "prescore lookup churn 42",
            ),
        ),
        Way(
            "Feast 0.67.0",
            ("feast==0.67.0", "onnxruntime"),
            {
                "score.py": f"from datetime import UTC, datetime\n\n{SCORE}"
                'scores = pd.DataFrame({"customer_id": customers["customer_id"], "score": chances})\n'
                'scores.assign(event_timestamp=datetime.now(UTC)).to_parquet("data/scores.parquet")\n',
                "feature_repo/feature_store.yaml": "project: churn\nregistry: registry.db\nprovider: local\n"
                "online_store:\n  type: sqlite\n  path: online_store.db\nentity_key_serialization_version: 3\n",
                "feature_repo/definitions.py": "from feast import Entity, FeatureView, Field, FileSource, ValueType\n"
                "from feast.types import Float32\n\n"
                'customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)\n'
                'source = FileSource(path="../data/scores.parquet", timestamp_field="event_timestamp")\n'
                'schema = [Field(name="score", dtype=Float32)]\n'
                'churn = FeatureView(name="churn", entities=[customer], schema=schema, source=source)\n',
                "lookup.py": "from feast import FeatureStore\n\n"
                'store = FeatureStore("feature_repo")\n'
                'row = store.get_online_features(features=["churn:score"], entity_rows=[{"customer_id": 42}])\n'
                "print(row.to_dict())\n",
            },
            (
                "python score.py",
                "feast -c feature_repo apply",
                "feast -c feature_repo materialize-incremental $(date -u +%Y-%m-%dT%H:%M:%S)",
                "python lookup.py",
            ),
        ),
        Way(
            "drt 1.2.1",
            ("drt-core[duckdb,postgres]==1.2.1", "onnxruntime", "pandas", "pyarrow"),
            {
                "score.py": f"import duckdb\n{SCORE}"
                'scores = pd.DataFrame({"customer_id": customers["customer_id"], "score": chances})\n'
                'duckdb.connect("warehouse.duckdb").execute("create table scores as from scores")\n',
                "drt_project.yml": 'name: churn\nversion: "0.1"\nprofile: local\n',
                ".drt/profiles.yml": "local:\n  type: duckdb\n  database: warehouse.duckdb\n",
                "syncs/churn.yml": "name: churn\nmodel: ref('scores')\ndestination:\n  type: postgres\n"
                "  connection_string_env: DATABASE_URL\n  table: public.churn\n  upsert_key: [customer_id]\n"
                "sync:\n  mode: replace\n  replace_strategy: swap\n  batch_size: 10000\n  on_error: fail\n",
            },
            (
                "python score.py",
                'psql "$DATABASE_URL" -c "create table churn (customer_id bigint primary key, score real)"',
                "drt run",
                'psql "$DATABASE_URL" -c "select * from churn where customer_id = 42"',
            ),
        ),
    ]


def main() -> None:
    """Print a row for each tool."""
    print("| | commands | files to write | lines | packages | on disk | installed in | commands take | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given")
        score = give(given)
        for way in ways():
            project = Path(folder, way.tool.split()[0])
            shutil.copytree(given, project)
            print(row(way, project, score), flush=True)


def give(folder: Path) -> float:
    """Write the customers and the model; return the score of customer 42."""
    random = np.random.default_rng(7)
    visits, spend = random.poisson(6, 10_000), random.gamma(2, 40, 10_000).round(2)
    left = random.random(10_000) < 1 / (1 + np.exp(0.5 * visits + 0.01 * spend - 2.5))
    features = pd.DataFrame({"visits": visits, "spend": spend}, dtype=np.float32)
    customers = features.assign(customer_id=range(1, 10_001))
    (folder / "data").mkdir(parents=True)
    customers.to_parquet(folder / "data/customers.parquet")
    model = LogisticRegression().fit(features, left)
    prescore.export_onnx(model, customers, folder / "models/churn.onnx")
    return float(model.predict_proba(features)[41, 1])


def row(way: Way, project: Path, score: float) -> str:
    """Go one way; return its row, and raise SystemExit if the score is not what the model predicts."""
    install(way)
    seconds = install(way)
    environment = os.environ | {"VIRTUAL_ENV": str(venv(way)), "HOME": str(project)}
    if way.tool.startswith("drt"):
        environment |= postgres(project / "server")
    environment["PATH"] = f"{venv(way) / 'bin'}{os.pathsep}{environment['PATH']}"
    for name, text in way.files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    start, cpu = time.monotonic(), cpu_seconds()
    printed = [shell(command, project, environment) for command in way.commands]
    took, cpu = time.monotonic() - start, cpu_seconds() - cpu
    if f"{score:.4f}"[:5] not in printed[-1]:
        raise SystemExit(f"{way.tool} printed {printed[-1]}, but the model predicts {score}")
    packages = len(list(venv(way).glob("lib/python*/site-packages/*.dist-info")))
    size = sum(file.stat().st_size for file in venv(way).rglob("*") if file.is_file()) / 1e6
    stop = project if way.tool == "prescore" else project / "server"
    if stop.exists():
        shell(f"{BIN}/prescore db stop", stop, os.environ)
    return (
        f"| {way.tool} | {len(way.commands)} | {len(way.files)} | {way.lines} | {packages} | {size:,.0f} MB"
        f" | {seconds:.0f} s | {took:.0f} s | {cpu:.0f} s |"
    )


def cpu_seconds() -> float:
    """Return the CPU time of all commands so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def venv(way: Way) -> Path:
    """Return the folder of the tool's own environment."""
    return Path(tempfile.gettempdir()) / f"first-minutes-{way.tool.split()[0]}"


def install(way: Way) -> float:
    """Install the packages into a new environment of their own; return the seconds."""
    shutil.rmtree(venv(way), ignore_errors=True)
    start = time.monotonic()
    shell(f"{BIN}/uv venv --quiet --python {sys.executable} {venv(way)}", ROOT, os.environ)
    packages = " ".join(f"'{package}'" for package in way.packages)
    options = f"--quiet --compile-bytecode --python {venv(way)}/bin/python"
    shell(f"{BIN}/uv pip install {options} {packages}", ROOT, os.environ)
    return time.monotonic() - start


def postgres(folder: Path) -> dict[str, str]:
    """Start a Postgres, and return the environment variables with which drt and psql find it."""
    folder.mkdir()
    (folder / "prescore.toml").write_text('database = "embedded"\n')
    url = shell(f"{BIN}/prescore db url", folder, os.environ).strip()
    psql = next(path for path in Path(sys.prefix).rglob("bin/psql") if path.is_file())
    return {"DATABASE_URL": url, "PATH": f"{psql.parent}{os.pathsep}{os.environ['PATH']}"}


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command; return what it printed, or raise SystemExit if it fails."""
    done = subprocess.run(
        command, shell=True, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


if __name__ == "__main__":
    main()
