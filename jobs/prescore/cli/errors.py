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
    except Exception:
        # A program that reads JSON gets the error as an object, too, and the traceback goes to stderr.
        _print_json("internal", "Internal error in prescore. See the traceback on stderr.")
        raise


def _print(error: PrescoreError) -> None:
    # A refused run prints its report as JSON instead.
    if not isinstance(error, Refused):
        _print_json(error.code, str(error))
    sys.stderr.write(f"prescore: {error}\n")


def _print_json(code: str, message: str) -> None:
    if "--json" in sys.argv:
        from prescore.cli import display

        display.print_json({"error": {"code": code, "message": message}})


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
