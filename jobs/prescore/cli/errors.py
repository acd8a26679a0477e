"""The one place where errors become words and exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prescore.errors import LeaseLost, PrescoreError, Refused, Terminal, Transient


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Tell what goes wrong; exit 4 a check refused it, 2 the user's mistake, 3 worth a retry, 1 a bug of ours."""
    logging.getLogger("psycopg").addFilter(_says_something_new)
    try:
        yield
    except PrescoreError as error:
        _tell(error)
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is None:
            raise
        _tell(Transient(f"{error.filename}: {error.strerror}. May this user write there, and is there room?"))
        sys.exit(3)


def _tell(error: PrescoreError) -> None:
    if "--json" in sys.argv and not isinstance(error, Refused):
        from prescore.cli import display

        display.print_json({"error": {"code": error.code, "message": str(error)}})
    sys.stderr.write(f"prescore: {error}\n")


def exit_code(error: PrescoreError) -> int:
    """What a script is told of an error."""
    if isinstance(error, Refused):
        return 4
    return 3 if isinstance(error, Transient | LeaseLost) else 2 if isinstance(error, Terminal) else 1


def _says_something_new(record: logging.LogRecord) -> bool:
    # What fails while the COPY or transaction of a lost connection is ended: the loss itself is the error that is told.
    return not str(record.msg).startswith("error ignored ")
