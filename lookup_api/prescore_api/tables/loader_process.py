"""A version's table, read by a process of its own: its rows are millions of turns of Python's lock for threads."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from prescore.catalog.database import Database
from prescore.errors import PrescoreError, Transient
from prescore_api.tables import loading
from prescore_api.tables.loading import DoesNotFit
from prescore_api.tables.version import TableVersion

# -P: a project's folder may hold a secrets.py of its own.
_COMMAND = (sys.executable, "-P", "-m", __name__)


class LoaderProcess:
    """Reads one table at a time; `stop` may be called by another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def load(self, database: Database, described: TableVersion, most: int) -> pa.Table:
        """What `loading.load` gives, and raises; Transient when the process, or all reading, was ended."""
        with tempfile.TemporaryDirectory(prefix="prescore-in-memory-") as folder:
            file = Path(folder, "table.arrow")
            error = self._asked(pickle.dumps((file, database, described, most)))
            if error is not None:
                raise error
            # What is mapped stays when the file goes.
            with pa.memory_map(str(file)) as source:
                return pa.ipc.open_file(source).read_all()

    def stop(self) -> None:
        """Read no more: a server that ends is not to wait for a large table, or for a lock on one."""
        self._ended = True
        if self._process is not None:
            self._process.kill()

    def _asked(self, asked: bytes) -> Exception | None:
        pipe = subprocess.PIPE
        # In a session of its own: Ctrl-C is for the server, which then ends it.
        with subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe, start_new_session=True) as process:  # noqa: S603 - our own
            self._process = process
            if self._ended:
                process.kill()
            told, _ = process.communicate(asked)
        if process.returncode:
            return Transient(f"The process that read it ended with status {process.returncode}.")
        error: Exception | None = pickle.loads(told)  # noqa: S301 - our own process wrote it
        return error


def _main() -> None:
    """Write the table that standard input asks for to a file; what went wrong goes to standard output."""
    file, database, described, most = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own process wrote it
    error: Exception | None = None
    try:
        table = loading.load(database, described, most)
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    except (PrescoreError, DoesNotFit) as raised:
        error = raised
    # The server has gone.
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(pickle.dumps(error))


if __name__ == "__main__":
    _main()
