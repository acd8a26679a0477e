#!/bin/sh
# Start Airflow's API server and UI. The only user is admin, with the password from the environment. Without one,
# Airflow would generate a password and log it.
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
