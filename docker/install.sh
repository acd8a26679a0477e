#!/bin/sh
# Install the dependencies of the given extras and groups into /opt/venv, with the versions and hashes of
# requirements.lock. For example:
#   sh docker/install.sh --extra api
set -eu
tool=/opt/build/bin

# The build tools come from the lock too, in an environment that is not copied into the images.
python -m venv /opt/build
awk '/^(uv|setuptools)==/ {on = 1} on {print} !/\\$/ {on = 0}' requirements.lock > /tmp/build.lock
$tool/pip install --quiet --disable-pip-version-check --require-hashes -r /tmp/build.lock

python -m venv /opt/venv
$tool/uv pip compile --quiet --python /opt/venv/bin/python --constraint requirements.lock --no-header --no-annotate \
  "$@" pyproject.toml -o /tmp/wanted.txt
awk 'NR == FNR {split($1, part, "=="); wanted[part[1]]; next}
  /^[a-z0-9]/ {split($1, part, "=="); on = part[1] in wanted} on' /tmp/wanted.txt requirements.lock > /tmp/wanted.lock
$tool/uv pip sync --quiet --no-cache --python /opt/venv/bin/python --require-hashes --compile-bytecode /tmp/wanted.lock
