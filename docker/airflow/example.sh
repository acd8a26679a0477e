#!/bin/sh
# The flight example's data and model, unless they are there: what its DAG reads.
set -eu
[ -e data/flights.parquet ] && [ -e models/flight_delay.onnx ] || exec python jobs/flights/train.py
