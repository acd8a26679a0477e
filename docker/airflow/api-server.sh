#!/bin/sh
# Airflow's API server and UI. Its one user is admin, with the password of the environment: none is made up and logged.
set -eu
umask 077
python - <<'PY'
import json, os
from pathlib import Path

users = {"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}
Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).write_text(json.dumps(users))
PY
unset AIRFLOW_ADMIN_PASSWORD
exec airflow api-server
