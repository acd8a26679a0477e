"""Health check of one part of Airflow for Docker: `python healthy.py scheduler` exits with 0 if it is healthy.

The API server reports the last heartbeat of each part. Airflow's own health check commands import all of Airflow each
time, which takes seconds.
"""

import json
import sys
import urllib.request

HEALTH = "http://airflow-api:8080/api/v2/monitor/health"

with urllib.request.urlopen(HEALTH, timeout=5) as response:
    parts = json.load(response)
    sys.exit(parts[sys.argv[1]]["status"] != "healthy")
