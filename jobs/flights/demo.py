"""A one-minute tour of prescore on real flights. Run it with `make demo`.

Every line after a $ is a command that you can run yourself.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# When this file runs as a script, Python only searches jobs/flights/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from flights.data import ROOT

MODEL = ROOT / "models/flight_delay.onnx"
BIN = Path(sys.executable).parent
FLIGHT = "carrier=UA&flight=1545&origin=EWR&date=2013-01-01"


def main() -> None:
    """Train, publish, look up, publish again, refuse a broken model, roll back."""
    require_no_hold()
    print_heading("1. Train on nine months of flights from New York, and test on the next three.")
    shell("python jobs/flights/train.py", shown="trained on|tested on|model  |ROC|agree|wrote")

    print_heading("2. Score every flight of the year into Postgres, check the table, and publish it.")
    first = publish()

    print_heading("3. Look up a flight: over HTTP, on the command line, and in SQL.")
    with lookup_api() as address:
        fetch(f"{address}/v1/predictions/flight_delay?{FLIGHT}")
        shell("prescore lookup flight_delay UA 1545 EWR 2013-01-01")
        query = "select dest, count(*), round(avg(late_probability)::numeric, 3) as late"
        shell(f'prescore db psql -c "{query} from predictions.flight_delay group by 1 order by 3 desc limit 3"')

        print_heading("4. Train another model. Its version replaces the first in one transaction.")
        shell("python jobs/flights/train.py --seed 2 --iterations 120", quiet=True)
        second = publish(shown="version|passed$|published")
        shell(f"prescore compare flight_delay {first} {second}")

        print_heading(
            "5. Break the model: it predicts NaN for long flights. The checks refuse it, and readers see no change."
        )
        files = [MODEL, MODEL.with_suffix(".examples.parquet")]
        for file in files:
            shutil.copy(file, f"{file}.good")
        try:
            shell("python jobs/flights/broken.py nan --out models/flight_delay.onnx", quiet=True)
            shell("prescore run flight_delay", expected=4, shown="rows in|refused by|observed|served")
        finally:
            for file in files:
                Path(f"{file}.good").replace(file)
        fetch(f"{address}/v1/predictions/flight_delay?{FLIGHT}")

        print_heading(
            f"6. Roll back to version {first}. Readers see it at once. The model is on hold until you release it."
        )
        shell(f"prescore rollback flight_delay --to {first} --reason 'second thoughts'")
        fetch(f"{address}/v1/predictions/flight_delay?{FLIGHT}")
        shell("prescore release flight_delay")
        shell("prescore versions flight_delay")

    print(NEXT)


NEXT = """
Your turn:
  .venv/bin/prescore db psql                      then: select * from predictions.flight_delay
  .venv/bin/prescore init churn                   create a spec and a domain query to start from
  .venv/bin/prescore db stop                      stop the demo's Postgres; the next command starts it again
  docs/tutorial.md                                your own model, from training to rollback
"""


def require_no_hold() -> None:
    """Raise SystemExit if the model is on hold, because no run would be published."""
    command = [str(BIN / "prescore"), "status", "--json"]
    # Before the first run there is no catalog, so no model can be on hold. The message about that is expected.
    status = subprocess.run(command, cwd=ROOT, text=True, check=False, capture_output=True)  # noqa: S603
    for model in json.loads(status.stdout) if status.returncode == 0 else []:
        if model["model"] == "flight_delay" and model["held"]:
            raise SystemExit(
                f"flight_delay is on hold ({model['hold_reason']}), so the demo cannot publish a version. "
                "Run `.venv/bin/prescore release flight_delay`, then `make demo` again."
            )


def publish(shown: str = "") -> int:
    """Run and publish the model; return the number of the new version."""
    output = shell("prescore run flight_delay", shown=shown)
    match = re.search(r"version (\d+)", output)
    if match is None:
        raise SystemExit("`prescore run` printed no version number, so the demo cannot continue.")
    return int(match[1])


def print_heading(text: str) -> None:
    """Print a heading, in bold on a terminal."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def shell(command: str, *, expected: int = 0, quiet: bool = False, shown: str = "") -> str:
    """Run a command in a shell, with this environment's programs first on the PATH; return its output.

    Prints the lines that match the regular expression `shown`, or none if `quiet`. Raises SystemExit, after printing
    all lines, if the command's exit code is not `expected`.
    """
    print(f"$ {command}", flush=True)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    process = subprocess.run(  # noqa: S602 - a constant command
        command,
        shell=True,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    failed = process.returncode != expected
    if failed or not quiet:
        for line in process.stdout.splitlines():
            if line.strip() and (failed or re.search(shown, line)):
                print(f"  {line}", flush=True)
    if failed:
        raise SystemExit(f"The command exited with code {process.returncode} instead of {expected}.")
    return process.stdout


def fetch(url: str) -> None:
    """Send a GET request and print the JSON of the response."""
    print(f"$ curl '{url}'", flush=True)
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - a local server
        print(f"  {json.dumps(json.load(response))}", flush=True)


@contextmanager
def lookup_api() -> Iterator[str]:
    """Run the lookup API; yield its address."""
    port = free_port(8000)
    url = subprocess.check_output([BIN / "prescore", "db", "url"], cwd=ROOT, text=True).strip()  # noqa: S603
    command = [str(BIN / "prescore"), "serve", "--no-auth", "--port", str(port)]
    print("$ export PRESCORE_DATABASE_URL=$(prescore db url)", flush=True)
    print(f"$ {shlex.join(['prescore', *command[1:]])} &", flush=True)
    with (ROOT / ".prescore/demo-serve.log").open("w") as log:
        environment = os.environ | {"PRESCORE_DATABASE_URL": url}
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            wait_for(server, f"http://127.0.0.1:{port}/health/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def free_port(first: int) -> int:
    """Return the first port, from `first` up, on which no server listens."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SystemExit(f"The lookup API needs a free port, but {first} to {first + 99} are all in use.")


def wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    """Send requests until the server is ready; raise SystemExit if it exits first."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - a local server
        except OSError:
            # The connection was refused or reset, or a busy machine did not answer in time.
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The lookup API did not start. See .prescore/demo-serve.log.")


if __name__ == "__main__":
    main()
