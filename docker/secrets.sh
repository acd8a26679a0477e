#!/bin/sh
# Print .env.example with new random secrets: sh docker/secrets.sh > .env
set -eu
while IFS= read -r line; do
  case $line in
    AIRFLOW_FERNET_KEY=) printf '%s%s\n' "$line" "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')" ;;
    [A-Z]*=) printf '%s%s\n' "$line" "$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')" ;;
    *) printf '%s\n' "$line" ;;
  esac
done < "$(dirname "$0")/../.env.example"
