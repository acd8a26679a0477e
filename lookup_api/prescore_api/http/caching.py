"""Response headers that say what may be cached and for how long (RFC 9110 and 9111).

The ETag of an answer covers its version, its publication, whether it is stale, and the selected outputs. It is weak,
because the age in the body keeps growing. An answer with `stale: false` is never fresh for longer than that is true.
"""

from __future__ import annotations

import hashlib

from prescore_api.service.answers import Age
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion


def etag(version: TableVersion, age: Age, options: LookupOptions, form: bytes) -> bytes:
    """Return the ETag that all equivalent answers at one URL share; `form` is `json` or `arrow`."""
    tag = b'W/"%b-%b-%b' % (version.stamp, b"s" if age.stale else b"f", form)
    if options.outputs:
        selected = "\0".join(options.outputs).encode()
        tag += b"-" + hashlib.sha256(selected).hexdigest()[:16].encode()
    return tag + b'"'


def cache_control(version: TableVersion, age: Age, options: LookupOptions) -> bytes:
    """Return for how long a client may reuse an answer: as long as the model's spec allows and the age permits."""
    seconds = version.row["cache_seconds"]
    for limit in (version.max_age, options.max_age):
        if limit is not None:
            seconds = min(seconds, limit - age.seconds)
    return b"private, no-cache" if age.stale or seconds < 1 else b"private, max-age=%d" % seconds


def matches(if_none_match: bytes | None, tag: bytes) -> bool:
    """Return whether an If-None-Match header contains the ETag, by weak comparison."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == b"*":
        return True
    candidates = [candidate.strip().removeprefix(b"W/") for candidate in if_none_match.split(b",")]
    return tag.removeprefix(b"W/") in candidates
