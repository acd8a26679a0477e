"""Errors of DuckDB: their class, and the part of their text that a user needs."""

from __future__ import annotations

import re
from pathlib import Path

from prescore.errors import DomainInvalid, Mistake, PrescoreError, SourceUnavailable, StoreFull
from prescore.sources.source import sentences

# DuckDB has an exception class for these, but errors in the middle of a result reach Python only as text.
_DISK_FULL = re.compile(r"max_temp_directory_size|No space left on device")
_OUT_OF_MEMORY = re.compile(r"Out of Memory Error")
_UNREACHABLE = re.compile(
    r"HTTP Error.*\b(?:429|5\d\d)\b|(?:HTTP|IO|Connection) Error.*(?:[Cc]ould not (?:connect|resolve|establish)|"
    r"[Tt]imed? ?out|[Cc]onnection (?:refused|reset|error)|Stale file handle|Input/output error)",
    re.DOTALL,
)
_LOCKED = re.compile(r"Could not set lock on file")
_TOO_MANY_FILES = re.compile(r"Too many open files")
_NO_EXTENSION = re.compile(r"Failed to download extension|[Ee]xtension .* not found")
_UNKNOWN_FORMAT = re.compile(r"No extension found that is capable of reading the file")
_CSV_LINE = re.compile(r"CSV Error on Line: (?P<line>\d+)\n(?:Original Line: \n?(?P<text>.*)\n)?(?P<fault>.*)")
_CSV_FILE = re.compile(r"^ *file = (.*)$", re.MULTILINE)
_CONVERSION = re.compile(
    r'Error when converting column "(?P<column>.*?)"\. Could not convert string "(?P<value>.*?)" to \'(?P<type>.*?)\'',
    re.DOTALL,
)
# DuckDB takes the column of `cast(b as real) as b` for its own alias when no table has it.
_UNKNOWN_COLUMN = re.compile(r'Column "(.*?)" referenced that exists in the SELECT clause')
_JSON_VALUE = re.compile(r"JSON transform error in file")
_ENCODING = re.compile(r"not utf-8 encoded")
_SHOWN = 200
"""How many characters of a line of data a message shows."""


def classified(what: str, error: Exception, *, memory_limit: str, spill: Path) -> PrescoreError:
    """Return the error of prescore for one that DuckDB raised, or pyarrow while it read DuckDB's result.

    `what` begins its message. DuckDB spills what exceeds `memory_limit` to the folder `spill`.
    """
    text = str(error)
    too_little = shortage(what, error, memory_limit=memory_limit, spill=spill)
    if isinstance(too_little, Mistake):
        return DomainInvalid(
            f"{too_little} For a query that sorts, groups or joins, do less of it: "
            "the order of the rows does not matter."
        )
    if too_little is not None:
        return too_little
    if _LOCKED.search(text):
        advice = "Another program writes to this file. Try again when it has closed it, or read a copy."
        return SourceUnavailable(sentences(what, text, advice))
    if _TOO_MANY_FILES.search(text):
        return SourceUnavailable(sentences(what, text, "Raise the limit on open files: ulimit -n."))
    if _UNREACHABLE.search(text) and not _NO_EXTENSION.search(text):
        return SourceUnavailable(sentences(what, text, "Check that the files can be reached, then try again."))
    fault, advice = _explained(text)
    return DomainInvalid(sentences(what, fault, advice))


def shortage(what: str, error: Exception, *, memory_limit: str, spill: Path) -> StoreFull | Mistake | None:
    """Return StoreFull or Mistake if DuckDB had too little disk or memory, and None for any other error."""
    text = str(error)
    if _DISK_FULL.search(text):
        return StoreFull.at(spill)
    if _OUT_OF_MEMORY.search(text):
        return Mistake(
            f"{what}: DuckDB needs more memory than memory_limit = {memory_limit!r} in prescore.toml. "
            "Raise it, or lower chunk_rows there."
        )
    return None


def _explained(text: str) -> tuple[str, str]:
    """Return what is wrong in a query or its data, and what to do about it."""
    if _NO_EXTENSION.search(text):
        return text, (
            "DuckDB reads these files only with an extension, which is not installed and could not be downloaded. "
            "Convert them to Parquet, or install the extension for the user that runs prescore."
        )
    if _UNKNOWN_FORMAT.search(text):
        return text, "DuckDB does not read this kind of file. Convert it to Parquet."
    unknown = _UNKNOWN_COLUMN.search(text)
    if unknown is not None:
        return f"the data has no column {unknown[1]}", "Correct the name in the query, or the data that it reads."
    csv = _CSV_LINE.search(text)
    if csv is not None:
        return _explained_csv(text, csv)
    if _JSON_VALUE.search(text):
        # The other lines are about options that would drop rows.
        return text.splitlines()[0], (
            "To reject only this row, read the column as text with read_json(…, columns = {'name': 'VARCHAR', …}), "
            "and convert it in the query: try_cast(trim(name) as double)."
        )
    return text, "Fix the query, or the data that it reads."


def _explained_csv(text: str, csv: re.Match[str]) -> tuple[str, str]:
    """Return the same for an error in a line of a CSV file, whose text also lists every option of the reader."""
    file = _CSV_FILE.search(text)
    place = f"line {csv['line']} of {file[1] if file else 'the file'}"
    if csv["text"]:
        place += f" is {_shown(csv['text'])}"
    value = _CONVERSION.search(text)
    if value is not None:
        column, kind = value["column"], value["type"]
        return f"{place}: {_shown(value['value'])} in column {column} is not a {kind}, like the values above it", (
            f"To reject only this row, read the column as text with read_csv(…, types = {{'{column}': 'VARCHAR'}}), "
            f"and convert it in the query: try_cast(trim({column}) as {kind.lower()})."
        )
    if _ENCODING.search(text):
        return f"{place}: it is not in UTF-8", (
            "Name its encoding: read_csv(…, encoding = 'latin-1'), or 'utf-16'. For any other encoding, convert the "
            "file to UTF-8."
        )
    return f"{place}. {csv['fault'].strip()}", "Fix the line, or give read_csv the options that the file needs."


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
