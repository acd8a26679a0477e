#!/bin/sh
# Create the data and the model that the flight example's DAG reads, unless they exist.
set -eu
[ -e data/flights.parquet ] && [ -e models/flight_delay.onnx ] || exec python jobs/flights/train.py
