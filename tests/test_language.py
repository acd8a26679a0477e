"""Words that prescore's pages, messages, comments and names do not use, each with what to write instead."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_pages import ROOT

WORDS = {
    r"told|tells?|telling": "report, return, log, show, raise",
    r"heard|whom|settled": "name the thing",
    r"(?:go|goes|going|gone|went) on with": "resume, continue",
    r"sets? aside|setting aside": "reject",
    r"asked|asks|asking": "request, query, look up",
    r"whoever|somebody|nobody|anybody|everybody": "client, caller, operator, user, reader, no one",
    r"those who|who asks|who reads|who writes": "client, caller, operator, user, reader",
    r"anew": "again, start over",
    r"mend(?:s|ed|ing)?": "fix",
    r"residents?": "in memory",
    r"promis(?:e|es|ed)": "max age",
    r"(?:the|its|whose|of the) owner": "model owner, catalog owner",
    r"versions? of the past": "backfill",
    r"narrow": "allow precision loss",
    r"prescore check(?!-again)": "prescore validate",
    r"prescore diff": "prescore compare",
    r"retention\.past": "retention.backfills",
    r"give back|gives back|gave back": "release",
    r"for ever": "forever",
    r"all the same": "anyway",
    r"as ever": "as always",
    r"rehearsals?": "preflight",
    r"merg(?:ed|ing) lookups?": "batching",
    r"(?<!there )(?:is|are) no (?!longer|more|different|such|less|other|one)": "is not a",
}
"""Regular expressions of whole words, without regard to case → what to write."""
NAMES = (
    "told|tell|tells|asked|asks|heard|settled|whoever|who|somebody|nobody|anew|mend|mended|resident|residents|narrow"
    "|promise|promised"
)
"""Words that no identifier contains."""
OPTIONS = {"--older": "--allow-older", "--breaking": "--allow-breaking", "--resident-memory": "--memory-limit"}
PRODUCT = "Score every answer before it is asked"
"""The product's own sentence, which may stand anywhere."""
# What prescore promises its users is what why.md and the README are about; memory of a process is resident or not.
ALLOWED = {
    "README.md": ("promis(?:e|es|ed)",),
    "docs/why.md": ("promis(?:e|es|ed)",),
    "docs/benchmarks.md": ("residents?",),
}
FOLDERS = ("README.md", "CONTRIBUTING.md", "docs", "jobs", "lookup_api", "dags", "sql", "benchmarks", "tests", "docker")
SUFFIXES = {".md", ".py", ".sql", ".html", ".toml", ".yml", ".sh"}


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.splitlines() if Path(name).suffix in SUFFIXES]
    return sorted(name for name in names if name != "tests/test_language.py" and (ROOT / name).exists())


def _texts(name: str) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file, line by line: all of a page, the comments and strings of a module."""
    content = (ROOT / name).read_text()
    if not name.endswith(".py"):
        yield from enumerate(content.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def _identifiers(name: str) -> Iterator[tuple[int, str]]:
    if name.endswith(".py"):
        for token in tokenize.generate_tokens(io.StringIO((ROOT / name).read_text()).readline):
            if token.type == tokenize.NAME:
                yield token.start[0], token.string


@pytest.mark.parametrize("name", _files())
def test_prose_uses_the_words_of_the_field(name: str) -> None:
    found = []
    for line, text in ((line, text.replace(PRODUCT, "")) for line, text in _texts(name)):
        for word, instead in WORDS.items():
            if word not in ALLOWED.get(name, ()) and (match := re.search(rf"\b(?:{word})\b", text, re.IGNORECASE)):
                found.append(f"{name}:{line}: {match[0]!r}; write: {instead}")
        found += [
            f"{name}:{line}: {old}; write: {new}"
            for old, new in OPTIONS.items()
            if re.search(rf"(?<![\w-]){old}\b", text)
        ]
    for line, identifier in _identifiers(name):
        if match := re.search(rf"(?:^|_)({NAMES})(?:$|_)", identifier, re.IGNORECASE):
            found.append(f"{name}:{line}: the name {identifier} contains {match[1]!r}")
    assert not found, "\n".join(found)
