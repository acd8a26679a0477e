"""`make demo` completes in a fresh copy of the flight example."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from doc_pages import ROOT

PARTS = ("jobs/flights", "specs", "sql/domains", "prescore.toml")


def test_the_demo_runs_from_training_to_rollback(tmp_path: Path) -> None:
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, tmp_path / part)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRESCORE_")}
    demo = subprocess.run(
        [sys.executable, "jobs/flights/demo.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    stopped = subprocess.run(
        [Path(sys.executable).with_name("prescore"), "db", "stop"], cwd=tmp_path, env=environment, check=True
    )
    assert (demo.returncode, stopped.returncode) == (0, 0), demo.stdout + demo.stderr
    for step in range(1, 7):
        assert f"\n{step}. " in demo.stdout
    assert demo.stdout.count('"found": true') == 3
    assert "refused by" in demo.stdout
    assert demo.stdout.rstrip().endswith("from training to rollback")
