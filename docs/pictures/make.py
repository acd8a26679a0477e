"""Draw the pictures of the documentation: `make pictures`.

A real browser photographs the status page after two models of the flight example were published and a broken one was
refused. The badges state what pyproject.toml says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "jobs"))
from flights.demo import free_port, wait_for  # noqa: E402

BIN = Path(sys.executable).parent
WIDTH = 1180
"""The width of the window in CSS pixels, at which the charts stand beside the runs."""
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{name}: {value}">
<rect width="{width}" height="20" rx="3" fill="#0969da"/>
<path d="M3 0h{split}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#454c54"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{name_center}" y="14" textLength="{name_length}">{name}</text>
<text x="{value_center}" y="14" textLength="{value_length}">{value}</text>
</g></svg>
"""


def main() -> None:
    """Write every picture beside this file."""
    for name, value in badges().items():
        (HERE / f"{name}.svg").write_text(badge(name, value))
    with tempfile.TemporaryDirectory() as folder, published(Path(folder)) as address:
        photograph(address, HERE / "status-page.png")


def badges() -> dict[str, str]:
    """Return the text of each badge, by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, end = (int(bound.rpartition(".")[2]) for bound in project["requires-python"].split(","))
    versions = " | ".join(f"3.{minor}" for minor in range(first, end))
    return {"python": versions, "licence": project["license"]}


def badge(name: str, value: str) -> str:
    """Return a badge as SVG, with text of 6.5 pixels a letter."""
    name_length, value_length = (round(6.5 * len(text)) for text in (name, value))
    split = name_length + 12
    return BADGE.format(
        name=name, value=value, width=split + value_length + 12, split=split - 3,
        name_center=split / 2, name_length=name_length,
        value_center=split + 6 + value_length / 2, value_length=value_length,
    )  # fmt: skip


@contextmanager
def published(folder: Path) -> Iterator[str]:
    """Publish two models of the flights in an empty folder, refuse a third, and yield the address of the lookup API."""
    for part in ("specs", "sql/domains", "jobs/flights"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "prescore.toml", folder)
    model = "models/flight_delay.onnx"
    try:
        shell(folder, "python jobs/flights/train.py")
        shell(folder, "prescore run flight_delay")
        shell(folder, "python jobs/flights/train.py --seed 2 --iterations 120")
        shell(folder, "prescore run flight_delay")
        shell(folder, f"python jobs/flights/broken.py constant --out {model}")
        shell(folder, "prescore run flight_delay", code=4)
        with serving(folder) as address:
            yield address
    finally:
        shell(folder, "prescore db stop")


def shell(folder: Path, command: str, code: int = 0) -> str:
    """Run a command in the project's folder; return what it printed, or raise SystemExit for another exit code."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PRESCORE_")}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise SystemExit(f"{command} exited with {done.returncode}, expected {code}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the project's predictions until the end of the context, and yield the address."""
    port = free_port(8100)
    environment = os.environ | {"PRESCORE_DATABASE_URL": shell(folder, "prescore db url")}
    command = [str(BIN / "prescore"), "serve", "--no-auth", "--port", str(port)]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            wait_for(server, f"http://127.0.0.1:{port}/health/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def photograph(address: str, file: Path) -> None:
    """Write what a browser with a light theme shows of the status page, as PNG."""
    with sync_playwright() as driver:
        # Chromium requires this flag when it runs as root.
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 400}, color_scheme="light")
        page.goto(f"{address}/")
        page.screenshot(path=file, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
