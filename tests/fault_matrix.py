"""The fault matrix: runs that are killed, and what is left. `python tests/fault_matrix.py --kills 20` (make faults).

A run is killed inside each step at a random moment, and at each boundary between its transactions: the job, the
Postgres server, or both, by SIGKILL. The catalog shows how far it got. Then readers query the model, the next run is
started as usual, and its table is compared with that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.rows import dict_row

from fix_project import QUERY, SPEC, customers, linear
from prescore.checks import expectations
from prescore.embedded import server
from prescore.project.project import Project
from prescore.run import chunk_scoring, materialize, rebase, registration, timing
from prescore.steps import changes, publish, snapshot, stage
from prescore.versions import delta, partitions, repetition, retirement, table

STEPS = ("snapshot", "score", "stage", "check", "publish")
VICTIMS = ("job", "server", "both")
BOUNDARIES: dict[str, tuple[Any, str]] = {
    "begun": (registration, "begin"),
    "frozen, not recorded": (snapshot, "write"),
    "first chunk": (stage, "copy_chunk"),
    "all chunks": (chunk_scoring, "score_chunks"),
    "keyed, not vacuumed": (table, "index"),
    "staged": (materialize, "finish_table"),
    "checks run, not recorded": (expectations, "validate"),
    "checked": (materialize, "check_table"),
    "attached, not published": (partitions, "attach"),
    "published": (publish, "publish"),
    "retirement decided": (retirement, "undropped"),
}
INCREMENTAL: dict[str, tuple[Any, str]] = {
    "rows to score written": (changes, "write"),
    "delta created, not recorded": (delta, "create"),
    "delta recorded": (materialize, "reuse_rows"),
    "first chunk of a delta": (stage, "copy_chunk"),
    "delta keyed": (stage, "add_key"),
    "delta staged": (materialize, "finish_table"),
    "delta published": (publish, "publish"),
    "copied, not recorded": (repetition, "copy_rows"),
    # The statement that vacuums the copy is the first after its transaction.
    "copied, not published": (rebase, "query"),
    "copy published": (rebase, "_copy"),
}
"""Boundaries in an incremental night on which a tenth of the rows changed, so that the delta is rebased."""
STILL_CURRENT: dict[str, tuple[Any, str]] = {"rows shared": (materialize, "reuse_rows")}
"""Boundaries in an incremental night on which nothing changed."""
COMMAND = Path(sys.executable).with_name("prescore")


@dataclass
class Tally:
    """What the kills hit, and what was wrong after them."""

    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: int = 0
    scored_again: int = 0
    wrong: list[str] = field(default_factory=list)


# --- the run that is killed ----------------------------------------------------------------------------------------


def child(root: Path, place: str) -> None:
    """Run the model in this process; at `place`, print "here" and wait for a line on stdin."""
    if place in STEPS:
        _stop_inside(place)
    else:
        _stop_after(*{**BOUNDARIES, **INCREMENTAL, **STILL_CURRENT}[place])
    os.chdir(root)
    sys.argv = ["prescore", "run", "churn"]
    from prescore.cli import main

    main.main()


def _here() -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.readline()


def _stop_inside(step: str) -> None:
    timed = timing.timed

    @contextmanager
    def stopping(job: Any, version: int, name: str) -> Iterator[Any]:
        with timed(job, version, name) as opened:
            if name == step:
                _here()
            yield opened

    setattr(timing, "timed", stopping)  # noqa: B010 - mypy knows the function that was there


def _stop_after(module: Any, name: str) -> None:
    function: Callable[..., Any] = getattr(module, name)

    def stopping(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        setattr(module, name, function)
        _here()
        return result

    setattr(module, name, stopping)


# --- the process that kills -------------------------------------------------------------------------------------------


class World:
    """A project on its own server, with a version made by an undisturbed run."""

    def __init__(self, root: Path, rows: int, chunk_rows: int, spec: str = SPEC) -> None:
        self.root, self.rows = root, rows
        for name in ("specs", "sql/domains", "models", "data"):
            (root / name).mkdir(parents=True)
        (root / "prescore.toml").write_text(f'database = "embedded"\nchunk_rows = {chunk_rows}\n')
        kept_short = spec.replace("versions = 3", 'versions = 2\ngrace = "0s"')
        self.spec = kept_short.replace("[onnx]\n", '[passthrough]\nnote = "bigint"\n[onnx]\n')
        (root / "specs/churn.toml").write_text(self.spec)
        (root / "sql/domains/churn.sql").write_text(QUERY.replace("spend from", "spend, note from"))
        (root / "models/churn.onnx").write_bytes(linear([1.0, -0.5]))
        self.chunk_rows, self.night = chunk_rows, 0
        self.write_customers()
        for command in (["run", "churn"], ["pin", "churn", "1"], ["run", "churn"]):
            self.prescore(*command)

    def write_customers(self) -> None:
        """Write the customers of tonight, of which a tenth has another note. Predictions are as they were."""
        notes = [self.night if row % 10 == 0 else 0 for row in range(self.rows)]
        table = customers(self.rows).append_column("note", pa.array(notes, pa.int64()))
        pq.write_table(table, self.root / "data/customers.parquet", row_group_size=self.chunk_rows)

    @contextmanager
    def incremental(self, *, changed: bool) -> Iterator[None]:
        """Make the next runs incremental, with deltas that are large enough for a rebase, after customers changed."""
        (self.root / "specs/churn.toml").write_text(f"{self.spec}[incremental]\nrebase = 0.05\n")
        self.night += int(changed)
        self.write_customers()
        yield
        (self.root / "specs/churn.toml").write_text(self.spec)

    def stray(self) -> list[str]:
        """Return the snapshots that no version needs, and the tables and views that no version has."""
        versions = self.query("select * from prescore.versions where state not in ('failed', 'retired')")
        needed = {version["snapshot_location"] for version in versions}
        needed |= {version[name] for version in versions for name in ("table_name", "rows_table")} | {"churn"}
        tables = self.query(
            "select relname from pg_class where relnamespace = 'prescore_versions'::regnamespace "
            "and relkind in ('r', 'v', 'p')"
        )
        store = self.root / ".prescore/store"
        files = [str(path.relative_to(store)) for path in store.glob("snapshots/churn/*")]
        return [name for name in [*files, *(table["relname"] for table in tables)] if name not in needed]

    def prescore(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = subprocess.run([COMMAND, *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"prescore {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Run a query and return its rows. Starts the server again if it is dead."""
        with psycopg.connect(server.start(Project.find(self.root)), row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()

    def kill_server(self) -> None:
        """Kill the server, as the kernel does when memory runs out."""
        pid = (server.folder(Project.find(self.root)) / "postmaster.pid").read_text().splitlines()[0]
        os.kill(int(pid), signal.SIGKILL)


def strike(world: World, place: str, victim: str, delay: float, tally: Tally) -> None:
    """Kill a run once, and look at what readers see before and after the next run."""
    before = world.query("select published_version as version from prescore.models")[0]["version"]
    _kill(world, place, victim, delay, tally)
    left = world.query("select * from prescore.versions order by version desc limit 1")[0]
    ledger = _ledger(world, left["version"])
    where = _where(left, ledger, before)
    if place in STEPS and where != place:
        tally.missed += 1
    else:
        tally.hits[place, victim] += 1
    _look(
        world,
        tally,
        f"after killing the {victim} in {place}",
        set(range(before, left["version"] + 1)) if where == "over" else {before},
    )
    report = json.loads(world.prescore("run", "churn", "--json"))
    if where not in ("over", "nowhere") and report["version"] != left["version"]:
        tally.wrong.append(f"{place}, {victim}: version {left['version']} was not resumed")
    after = _ledger(world, report["version"])
    if where not in ("over", "nowhere"):
        tally.scored_again += sum(after.get(chunk) != at for chunk, at in ledger.items())
    _look(world, tally, f"after the run that followed {place}, {victim}", {report["rebased_to"] or report["version"]})
    if stray := world.stray():
        tally.wrong.append(f"{place}, {victim}: the run that followed left {stray}")


def _kill(world: World, place: str, victim: str, delay: float, tally: Tally) -> None:
    command = [sys.executable, __file__, "child", str(world.root), place]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        if run.stdout.readline() != "here\n":
            raise AssertionError(f"the run never came to {place}: {run.communicate()[1]}")
        if place in STEPS:
            run.stdin.write("\n")
            run.stdin.flush()
            time.sleep(delay)
        if victim in ("server", "both"):
            world.kill_server()
        if victim in ("job", "both"):
            run.kill()
        stderr = run.communicate("\n" if victim == "server" and place not in STEPS else None)[1]
    if victim == "server" and run.returncode not in (0, 3):
        tally.wrong.append(f"{place}, server: the run ended with {run.returncode}: {stderr}")


def _ledger(world: World, version: int) -> dict[int, Any]:
    rows = world.query(f"select chunk, committed_at from prescore.chunks where version = {version}")
    return {row["chunk"]: row["committed_at"] for row in rows}


def _where(left: dict[str, Any], ledger: dict[int, Any], before: int) -> str:
    """Return the step that the newest version is in according to the catalog; the copy of a rebase comes last."""
    if left["version"] == before:
        return "nowhere"
    if "copy_of" in (left["changes"] or {}):
        return "over"
    if left["state"] == "building":
        if left["snapshot_rows"] is None:
            return "snapshot"
        return "score" if len(ledger) < left["snapshot_chunks"] else "stage"
    return {"staged": "check", "checked": "publish"}.get(left["state"], "over")


def _look(world: World, tally: Tally, when: str, allowed: set[int]) -> None:
    """Check that readers see one whole version with the keys and the values of the undisturbed one."""
    seen = world.query(
        "select count(*) as rows, count(distinct customer) as keys, min(v.version) as low, max(v.version) as high, "
        "count(r.score) as known, max(abs(v.score - r.score)) as off "
        "from predictions.churn v left join prescore_versions.churn_v1 r using (customer)"
    )[0]
    whole = seen["rows"] == seen["keys"] == seen["known"] == world.rows and seen["off"] <= 1e-6
    if not whole or seen["low"] != seen["high"] or seen["low"] not in allowed:
        tally.wrong.append(f"{when}: readers see {seen}, and should see all of version {allowed}")


def durations(world: World) -> dict[str, float]:
    """Return the seconds that each step of an undisturbed run takes."""
    seconds: dict[str, float] = json.loads(world.prescore("run", "churn", "--json"))["seconds"]
    return seconds


def matrix(world: World, kills: int, seed: int, on_kill: Callable[[str], object] = lambda _: None) -> Tally:
    """Kill runs `kills` times inside each step, and once for each victim at each boundary."""
    chance, tally, long = random.Random(seed), Tally(), durations(world)
    for place in BOUNDARIES:
        for victim in VICTIMS[: 3 if kills > 1 else 1]:
            strike(world, place, victim, 0.0, tally)
            on_kill(f"{place}: {victim}")
    for place in (*INCREMENTAL, *STILL_CURRENT):
        for victim in VICTIMS[: 3 if kills > 1 else 1]:
            with world.incremental(changed=place in INCREMENTAL):
                strike(world, place, victim, 0.0, tally)
            on_kill(f"{place}: {victim}")
    for step in STEPS:
        tried = 0
        while sum(n for (place, _), n in tally.hits.items() if place == step) < kills and tried < 5 * kills:
            victim, tried = VICTIMS[tried % 3], tried + 1
            strike(world, step, victim, chance.uniform(0, 0.8 * long[step]), tally)
            on_kill(f"{step}: {victim}")
    return tally


def markdown_table(tally: Tally) -> str:
    """Return the table of docs/faults.md."""
    places = [*STEPS, *BOUNDARIES, *INCREMENTAL, *STILL_CURRENT]
    lines = ["| killed in | job | server | both |", "|---|---|---|---|"]
    lines += [f"| {place} | {' | '.join(str(tally.hits[place, victim]) for victim in VICTIMS)} |" for place in places]
    lines.append(f"\n{sum(tally.hits.values())} kills where they were meant to be, {tally.missed} elsewhere.")
    lines.append(f"Chunks scored again though they were finished: {tally.scored_again}. Wrong: {len(tally.wrong)}.")
    return "\n".join([*lines, *tally.wrong])


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["child"]:
        child(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(description="Kill runs in every step, and check what is left.")
    parser.add_argument("--kills", type=int, default=20, help="inside each step")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import tempfile

    # The project's own server is the one to kill.
    os.environ.pop("PRESCORE_DATABASE_URL", None)
    with tempfile.TemporaryDirectory(prefix="prescore-faults-") as folder:
        world = World(Path(folder), rows=60_000, chunk_rows=2_000)
        try:
            tally = matrix(world, options.kills, options.seed, lambda what: sys.stderr.write(f"{what}\n"))
        finally:
            world.prescore("db", "stop")
    sys.stdout.write(f"{markdown_table(tally)}\n")
    sys.exit(1 if tally.wrong or tally.scored_again else 0)


if __name__ == "__main__":
    main()
