"""What is installed with what, and what a command costs before it does anything."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fix_incremental import WITHOUT_CHECKS
from fix_project import Sandbox

ROOT = Path(__file__).parents[1]
HEAVY = (
    "pandas",
    "pyarrow",
    "numpy",
    "sklearn",
    "onnxruntime",
    "duckdb",
    "great_expectations",
    "airflow",
    "sqlalchemy",
)


def _imports(statement: str) -> set[str]:
    """The heavy packages that are loaded after a statement."""
    code = f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    assert _imports("import prescore.cli.main") == set()


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "prescore", "--help"], check=True, capture_output=True, text=True)
    assert "Usage: python -m prescore" in done.stdout


def test_importing_the_public_api_loads_nothing_heavy() -> None:
    assert _imports("import prescore; prescore.Refused") == set()


def test_a_project_that_only_reads_the_catalog_loads_nothing_heavy() -> None:
    assert _imports("import prescore; prescore.Project; prescore.Results") == set()


def test_status_and_versions_need_only_the_catalog() -> None:
    assert (
        _imports(
            "import prescore.cli.display, prescore.embedded.server, prescore.catalog.catalog, prescore.catalog.lookup"
        )
        == set()
    )


def test_rolling_back_holding_pinning_retiring_and_comparing_need_only_the_catalog() -> None:
    assert (
        _imports(
            "import prescore.cli.context, prescore.comparison.comparison, "
            "prescore.versions.pointer, prescore.versions.rollback, prescore.versions.retirement, "
            "prescore.versions.pins, prescore.store.store"
        )
        == set()
    )


@pytest.mark.parametrize("command", [["validate"], ["run", "churn"]])
def test_a_command_that_needs_the_jobs_says_so(command: list[str]) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from prescore.cli import main; main.main()"
    done = subprocess.run([sys.executable, "-c", code, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "pip install 'prescore[jobs]'" in done.stderr


def test_the_api_needs_nothing_of_the_jobs() -> None:
    assert _imports("import prescore_api.http.app, prescore_api.http.server") <= {"pyarrow", "numpy"}


def test_the_client_names_the_extra_that_it_needs() -> None:
    code = "import sys; sys.modules['httpx'] = None; import prescore_api.client"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("Run: pip install 'prescore[client]'"), done.stderr


def test_the_client_needs_httpx_and_nothing_else() -> None:
    others = (*HEAVY, "prescore", "fastapi", "starlette", "uvicorn", "orjson", "psycopg", "psycopg_pool", "pydantic")
    code = f"import sys; sys.modules.update(dict.fromkeys({others!r})); import prescore_api.client"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_applications_score_without_the_jobs() -> None:
    assert _imports("import prescore.scoring.scorer") <= {"pyarrow", "numpy", "onnxruntime", "pandas"}


def test_a_run_loads_no_airflow_and_great_expectations_only_for_checks_of_the_spec(sandbox: Sandbox) -> None:
    sandbox.spec(WITHOUT_CHECKS)
    loaded = _imports(f"import prescore; assert prescore.Project({str(sandbox.root)!r}).run('churn').published")
    assert "onnxruntime" in loaded
    assert not {"airflow", "great_expectations"} & loaded


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a clean copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.split("\n"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl"))


def test_the_wheel_carries_all_that_it_needs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ours = sorted(str(path.relative_to(ROOT / "sql")) for path in (ROOT / "sql/prescore_sql").rglob("*.sql"))
    assert set(ours) <= set(names)
    assert {
        "prescore/project/scaffold_files/scores.toml",
        "prescore_api/http/app.py",
        "prescore_api/client/__init__.py",
        "prescore_api/pages/templates/status.css",
        "prescore_api/pages/templates/status.html",
        "prescore_dags/factory.py",
        "prescore/py.typed",
    } <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "prescore",
        "prescore_api",
        "prescore_dags",
        "prescore_sql",
    }


def test_the_wheel_gives_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        entry = next(name for name in opened.namelist() if name.endswith("entry_points.txt"))
        assert "prescore = prescore.cli.main:main" in opened.read(entry).decode()


def test_the_lock_names_no_index_and_hashes_everything() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "http://" not in lock
    assert "https://" not in lock
    pinned = [line for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)


def test_scoring_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", "import prescore.scoring.scorer"], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []
