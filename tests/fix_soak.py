"""Long tests: `make soak` runs them, and `make test` leaves them out so that it stays short."""

from __future__ import annotations

import os

import pytest

SOAK = "PRESCORE_SOAK" in os.environ

soak = pytest.mark.skipif(not SOAK, reason="takes most of a minute: `make soak` runs it")
