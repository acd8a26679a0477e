"""The whole of prescore in a minute, on real flights: run as `make demo`.

Every line behind a $ is a command that you can type yourself.
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

# Run as a script, Python looks in jobs/flights/ only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from flights.data import ROOT

MODEL = ROOT / "models/flight_delay.onnx"
BIN = Path(sys.executable).parent
FLIGHT = "carrier=UA&flight=1545&origin=EWR&date=2013-01-01"


def main() -> None:
    """Train, publish, look up, publish again, refuse a broken model, roll back."""
    require_released()
    say("1. Train on nine months of flights from New York, test on the three after.")
    shell("python jobs/flights/train.py", shown="learned|judged|model  |ROC|agree|wrote")

    say("2. Score every flight of the year into Postgres, check the table, publish it.")
    first = published()

    say("3. Look a flight up: over HTTP, on the command line, in SQL.")
    with serving() as address:
        get(f"{address}/v1/predictions/flight_delay?{FLIGHT}")
        shell("prescore lookup flight_delay UA 1545 EWR 2013-01-01")
        query = "select dest, count(*), round(avg(late_probability)::numeric, 3) as late"
        shell(f'prescore db psql -c "{query} from predictions.flight_delay group by 1 order by 3 desc limit 3"')

        say("4. A second model: a second version takes the place of the first, in one transaction.")
        shell("python jobs/flights/train.py --seed 2 --iterations 120", quiet=True)
        second = published(shown="version|passed$|published")
        shell(f"prescore compare flight_delay {first} {second}")

        say("5. A broken model, which answers NaN for long flights: refused, and nobody notices.")
        good = MODEL.with_suffix(".good")
        shutil.copy(MODEL, good)
        try:
            shell("python jobs/flights/broken.py nan --out models/flight_delay.onnx", quiet=True)
            shell("prescore run flight_delay", expected=4, shown="rows in|refused by|observed|served")
        finally:
            good.replace(MODEL)
        get(f"{address}/v1/predictions/flight_delay?{FLIGHT}")

        say(
            f"6. Second thoughts: back to version {first}. Readers follow at once; the model is on hold until released."
        )
        shell(f"prescore rollback flight_delay --to {first} --reason 'second thoughts'")
        get(f"{address}/v1/predictions/flight_delay?{FLIGHT}")
        shell("prescore release flight_delay")
        shell("prescore versions flight_delay")

    print(NEXT)


NEXT = """
Now yours:
  .venv/bin/prescore db psql                      select * from predictions.flight_delay
  .venv/bin/prescore init churn                   a spec and a domain query to start from
  .venv/bin/prescore db stop                      stop the Postgres that this demo started; the next command starts it
  docs/tutorial.md                                a model of your own, from training to rollback
"""


def require_released() -> None:
    """Stop before anything is done when somebody has put the model on hold: nothing would be published."""
    command = [str(BIN / "prescore"), "status", "--json"]
    status = subprocess.run(command, cwd=ROOT, text=True, check=False, stdout=subprocess.PIPE)  # noqa: S603
    # Before the first run there is no catalog, and no model can be on hold.
    for model in json.loads(status.stdout) if status.returncode == 0 else []:
        if model["model"] == "flight_delay" and model["held"]:
            raise SystemExit(
                f"flight_delay is on hold ({model['hold_reason']}), so the demo could publish nothing. "
                "`.venv/bin/prescore release flight_delay` ends that; then make demo again."
            )


def published(shown: str = "") -> int:
    """Run the flow, show what it says, and give the version that it published."""
    said = shell("prescore run flight_delay", shown=shown)
    found = re.search(r"version (\d+)", said)
    if found is None:
        raise SystemExit("the run did not tell its version")
    return int(found[1])


def say(text: str) -> None:
    """A heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def shell(command: str, *, expected: int = 0, quiet: bool = False, shown: str = "") -> str:
    """Run a command as the shell would, with this environment's programs first; stop the demo if it ends otherwise.

    Of what it prints, only lines with the words in `shown` are shown: what the reader has seen before is left out.
    """
    print(f"$ {command}", flush=True)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    done = subprocess.run(  # noqa: S602 - our own lines, shown as they are typed
        command,
        shell=True,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not quiet or done.returncode != expected:
        whole = done.returncode != expected
        lines = [line for line in done.stdout.splitlines() if line.strip() and (whole or re.search(shown, line))]
        print("\n".join(f"  {line}" for line in lines), flush=True)
    if done.returncode != expected:
        raise SystemExit(f"that ended with {done.returncode}, and should have with {expected}")
    return done.stdout


def get(url: str) -> None:
    """Fetch a page and show it."""
    print(f"$ curl '{url}'", flush=True)
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
        print(f"  {json.dumps(json.load(answer))}", flush=True)


@contextmanager
def serving() -> Iterator[str]:
    """The lookup API for as long as it is needed; gives its address."""
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
    """The first port from `first` up that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SystemExit("no free port for the lookup API")


def wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    """Ask until the server says that it is ready; stop the demo if it has ended."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - our own server
        except OSError:  # refused, reset, or not answered in time by a machine that is busy
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the lookup API does not start; it says why in .prescore/demo-serve.log")


if __name__ == "__main__":
    main()
