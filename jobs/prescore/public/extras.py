"""Optional dependencies: a missing one becomes an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prescore.errors import Mistake


@contextmanager
def needed(extra: str) -> Iterator[None]:
    """Raise Mistake when an import in this block fails because the extra is not installed."""
    try:
        yield
    except ImportError as error:
        raise Mistake(
            f"This needs the extra {extra!r} of prescore, which is not installed ({error}). "
            f"Run: pip install 'prescore[{extra}]'"
        ) from error
