"""Loading of a version in a child process: parsing millions of rows would keep the server's threads from running."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress

import pyarrow as pa

from prescore.catalog.database import Database
from prescore.errors import PrescoreError, Transient
from prescore_api.tables import loading
from prescore_api.tables.loading import DoesNotFit
from prescore_api.tables.scratch_folder import scratch_folder
from prescore_api.tables.version import TableVersion

# -P keeps the working directory off the module path: a project may contain a secrets.py of its own.
_COMMAND = (sys.executable, "-P", "-m", __name__)


class LoaderProcess:
    """Loads tables in a child process, one at a time. `stop` may be called by another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def load(self, database: Database, version: TableVersion, max_bytes: int, *, delta_alone: bool = False) -> pa.Table:
        """Return what `loading.load` returns, and raise what it raises; raise Transient if the process dies."""
        with scratch_folder("prescore-in-memory-") as folder:
            file = folder / "table.arrow"
            job = pickle.dumps((file, database, version, max_bytes, delta_alone))
            error = self._run(job)
            if error is not None:
                raise error
            # A memory map outlives its file's deletion.
            with pa.memory_map(str(file)) as source:
                return pa.ipc.open_file(source).read_all()

    def stop(self) -> None:
        """Stop loading for good, so that shutdown does not wait for a large table, or for a lock on one."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _run(self, job: bytes) -> Exception | None:
        """Run a job in a child process and return the error that it reports."""
        # In its own session, the child does not get the terminal's Ctrl-C. The server does, and stops the child.
        with subprocess.Popen(  # noqa: S603 - our own command
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            self._process = process
            # `stop` may have run before the process existed.
            if self._stopped:
                process.kill()
            output, _ = process.communicate(job)
        if process.returncode:
            return Transient(f"The process that loads the table ended with status {process.returncode}.")
        error: Exception | None = pickle.loads(output)  # noqa: S301 - our own process wrote it
        return error


def _main() -> None:
    """Load the table named on standard input into a file, and write the error, or None, to standard output."""
    file, database, version, max_bytes, delta_alone = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own process wrote it
    error: Exception | None = None
    try:
        load = loading.load_delta if delta_alone else loading.load
        table = load(database, version, max_bytes)
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    except (PrescoreError, DoesNotFit) as raised:
        error = raised
    # The server may have ended in the meantime.
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(pickle.dumps(error))


if __name__ == "__main__":
    _main()
