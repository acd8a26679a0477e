"""The environment variables that configure Airflow on one machine: its metadata database, its address and its DAGs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import query
from prescore.embedded import server
from prescore.project.project import Project, make_folder

DAG_FILE = "from prescore_dags import airflow_dags\n\nairflow_dags()\n"
METADATA = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


def environment(project: Project, home: Path, database_url: str, port: int) -> dict[str, str]:
    """Return the environment variables that configure Airflow and its DAGs."""
    address = f"http://localhost:{port}"
    programs = Path(sys.executable).parent
    search_path = os.environ.get("PATH", os.defpath)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_dags_folder(project, home)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GX_ANALYTICS_ENABLED": "False",
        "PATH": f"{programs}{os.pathsep}{search_path}",
        "PRESCORE_DATABASE_URL": database_url,
        "PRESCORE_PROJECT": str(project.root),
    }


def metadata_variables(project: Project) -> dict[str, str]:
    """Return variables that name a metadata database on the embedded Postgres, unless the environment names one.

    Airflow's default is SQLite, on which a trigger fails with a lock timeout while the DAGs are being parsed. Raises
    Mistake or DatabaseUnavailable when the embedded Postgres cannot be started.
    """
    if METADATA in os.environ:
        return {}
    url = server.start(project)
    postgres = Database(url, embedded=True)
    with postgres.connect() as connection:
        row = Catalog(connection).one("airflow_database_exists")
        if not row["present"]:
            connection.execute(query("airflow_database_create"))
    metadata_url = postgres.sqlalchemy_url.replace("/postgres?", "/airflow?", 1)
    return {
        METADATA: metadata_url,
        f"{METADATA}_ASYNC": metadata_url,
    }


def _dags_folder(project: Project, home: Path) -> Path:
    """Return the project's own DAG folder, or else a new one with a two-line DAG file."""
    own_folder = project.root / "dags"
    if own_folder.is_dir():
        return own_folder
    folder = home / "dags"
    make_folder(folder)
    (folder / "predictions.py").write_text(DAG_FILE)
    return folder
