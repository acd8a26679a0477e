"""Errors become messages and exit codes here, for every command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prescore.errors import LeaseLost, PrescoreError, Refused, Terminal, Transient


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Print an error and exit: 4 a check refused it, 2 the user's mistake, 3 worth a retry, 1 a bug in prescore."""
    logging.getLogger("psycopg").addFilter(_is_news)
    try:
        yield
    except PrescoreError as error:
        _print(error)
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is None:
            raise
        _print(
            Transient(
                f"{error.filename}: {error.strerror}. Check that this user may write there and that the disk has room."
            )
        )
        sys.exit(3)


def _print(error: PrescoreError) -> None:
    # A refused run prints its report as JSON instead.
    if "--json" in sys.argv and not isinstance(error, Refused):
        from prescore.cli import display

        display.print_json({"error": {"code": error.code, "message": str(error)}})
    sys.stderr.write(f"prescore: {error}\n")


def exit_code(error: PrescoreError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, Refused):
        return 4
    if isinstance(error, Transient | LeaseLost):
        return 3
    return 2 if isinstance(error, Terminal) else 1


def _is_news(record: logging.LogRecord) -> bool:
    # Ending the COPY or the transaction of a lost connection fails too. The loss itself is the error that is reported.
    return not str(record.msg).startswith("error ignored ")
