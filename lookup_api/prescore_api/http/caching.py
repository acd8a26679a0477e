"""What may be kept of an answer, and for how long (RFC 9110 and 9111).

An answer's ETag names its version, when that was published, whether it is stale, and the outputs asked for: it is weak,
because the age in the body goes on. A reply that says `stale: false` is never fresh for longer than that is true.
"""

from __future__ import annotations

import hashlib

from prescore_api.service.answers import Age
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion


def etag(described: TableVersion, age: Age, terms: LookupOptions, form: bytes) -> bytes:
    """A name for all answers that say the same of the same URL, in one form (`json` or `arrow`)."""
    tag = b'W/"%b-%b-%b' % (described.stamp, b"s" if age.stale else b"f", form)
    if terms.outputs:
        tag += b"-" + hashlib.sha256("\0".join(terms.outputs).encode()).hexdigest()[:16].encode()
    return tag + b'"'


def cache_control(described: TableVersion, age: Age, terms: LookupOptions) -> bytes:
    """For how long it may be used again without asking: as its owner allows, and while it is fresh enough."""
    seconds = described.row["cache_seconds"]
    for bound in (described.max_age, terms.max_age):
        if bound is not None:
            seconds = min(seconds, bound - age.seconds)
    return b"private, no-cache" if age.stale or seconds < 1 else b"private, max-age=%d" % seconds


def matches(asked: bytes | None, tag: bytes) -> bool:
    """Whether If-None-Match names this ETag; weakly, as for GET."""
    if asked is None:
        return False
    return asked.strip() == b"*" or tag.removeprefix(b"W/") in (
        one.strip().removeprefix(b"W/") for one in asked.split(b",")
    )
