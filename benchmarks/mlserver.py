"""MLServer with one scikit-learn model, as its users start it.

    python3 -m venv mlserver
    mlserver/bin/pip install 'mlserver==1.7.1' 'mlserver-sklearn==1.7.1' 'scikit-learn==1.9.1' 'uvloop<0.22'

The settings are MLServer's defaults: uvloop, which is one of its dependencies and saves it a tenth of the CPU time, its
own access log and metrics, and one inference worker, so that there are two processes. With uvloop 0.22 or newer, the
worker of MLServer 1.7.1 ends with an error as soon as it starts (issue 2286 of MLServer), and requests are never
answered. MLflow pins uvloop for that reason, as the command above does. Others do without the worker, which
`parallel_workers = 0` leaves out: one process then answers, with half of the CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.http_load import Server, free_ports, stopped, until_ready
from benchmarks.world import FEATURES, World

_PORTS = ("http_port", "grpc_port", "metrics_port")
_REQUESTS = """
wrk.headers["Content-Type"] = "application/json"
local values = string.rep('{features}, ', {rows} - 1) .. '{features}'
local head = '{{"inputs": [{{"name": "predict", "shape": [{rows}, {width}], "datatype": "FP32", "data": ['
local body = head .. values .. ']}}]}}'
request = function() return wrk.format("POST", "/v2/models/{model}/infer", nil, body) end
"""


@contextmanager
def started(where: World, command: Path, model: str, **settings: Any) -> Iterator[Server]:
    """Start MLServer with the scikit-learn model that `models.train` has written, and wait until it answers.

    `settings` are added to its settings.json, which has its ports and otherwise nothing but defaults.
    """
    folder = where.root / "mlserver"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(where.root / f"models/{model}.joblib", folder)
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    (folder / "settings.json").write_text(json.dumps({**ports, **settings}))
    (folder / "model-settings.json").write_text(json.dumps(_model(model)))
    # MLServer looks for its own programs in the path.
    environment = {**os.environ, "PATH": f"{command.absolute().parent}:{os.environ['PATH']}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [command.absolute(), "start", "."], cwd=folder, env=environment, stdout=log, stderr=log
        )
    with stopped(process):
        url = f"http://127.0.0.1:{ports['http_port']}"
        until_ready(f"{url}/v2/models/{model}/ready")
        yield Server(url, process)


def script(model: str, rows: int) -> str:
    """Return wrk's script of requests for the predictions of some rows of features."""
    features = ", ".join(str(n / len(FEATURES)) for n in range(len(FEATURES)))
    return _REQUESTS.format(model=model, rows=rows, width=len(FEATURES), features=features)


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": f"./{name}.joblib", "version": "1"},
    }


def arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of a benchmark that compares with MLServer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlserver", type=Path, help="the command mlserver in an environment of its own")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=6, help="duration of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()
