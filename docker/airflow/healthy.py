"""Whether a part of Airflow lives, for Docker to ask: `python healthy.py scheduler`.

The API server knows when each part last gave a sign of life. Airflow's own commands that ask for it import all of
Airflow, seconds of work, every time.
"""

import json
import sys
import urllib.request

HEALTH = "http://airflow-api:8080/api/v2/monitor/health"

with urllib.request.urlopen(HEALTH, timeout=5) as answer:
    parts = json.load(answer)
    sys.exit(parts[sys.argv[1]]["status"] != "healthy")
