"""SQL text as tokens: just enough to find parameters, semicolons and words outside comments, strings and quoted names.

DuckDB parses its own queries, except for this. The syntax is that of Postgres, which covers most of what other
databases have, or that of MySQL and MariaDB.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

_POSTGRES = re.compile(
    r"""
    (?P<comment>--[^\n]*)
    | (?P<nested_comment>/\*)
    | (?P<string>'(?:[^']+|'')*(?:'|\Z))
    # In E'it\'s', a backslash escapes the quote.
    | (?P<escape_string>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<quoted_name>"(?:[^"]+|"")*(?:"|\Z))
    | (?P<dollar_string>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    # A name may hold a dollar sign, so the dollar sign in x$as_of begins no parameter.
    | (?P<word>\w[\w$]*)
    | (?P<parameter>\$[^\W\d]\w*)
    | (?P<space>\s+)
    | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MYSQL = re.compile(
    r"""
    (?P<comment>(?:--|\#)[^\n]*)
    # MySQL and MariaDB run what is in /*! … */ and /*M! … */.
    | (?P<plain_comment>/\*(?!M?!).*?(?:\*/|\Z))
    | (?P<string>'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<double_string>"(?:[^"\\]|\\.|"")*(?:"|\Z))
    | (?P<quoted_name>`(?:[^`]+|``)*(?:`|\Z))
    | (?P<word>\w[\w$]*)
    | (?P<parameter>\$[^\W\d]\w*)
    | (?P<space>\s+)
    | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_NO_CODE = {"comment", "nested_comment", "plain_comment", "space"}


class Token(NamedTuple):
    """A piece of SQL text; the texts of all tokens together are the whole text."""

    kind: str
    text: str

    @property
    def parameter(self) -> str | None:
        """Return the name of a parameter such as `$as_of`, in lower case; None for any other token."""
        return self.text[1:].lower() if self.kind == "parameter" else None

    @property
    def is_code(self) -> bool:
        """Return whether the token is more than a comment, white space or a semicolon."""
        return self.kind not in _NO_CODE and self.text != ";"


def tokens(sql: str, *, mysql: bool = False) -> Iterator[Token]:
    """Yield the tokens of a text. A comment or string that is not closed reaches to the end of the text."""
    syntax = _MYSQL if mysql else _POSTGRES
    start = 0
    while match := syntax.match(sql, start):
        kind = str(match.lastgroup)
        end = _comment_end(sql, start) if kind == "nested_comment" else match.end()
        yield Token(kind, sql[start:end])
        start = end


def parameters(sql: str, *, mysql: bool = False) -> set[str]:
    """Return the names of the parameters in a text, in lower case."""
    return {token.parameter for token in tokens(sql, mysql=mysql) if token.parameter is not None}


def is_blank(sql: str) -> bool:
    """Return whether a text has nothing but comments, white space and semicolons."""
    return not any(token.is_code for token in tokens(sql))


def first_word(sql: str, *, mysql: bool = False) -> str:
    """Return the first word of a text in lower case, behind comments and opening parentheses; without one, nothing."""
    for token in tokens(sql, mysql=mysql):
        if token.is_code and token.text != "(":
            return token.text.lower()
    return ""


def called_functions(sql: str) -> set[str]:
    """Return the names in front of an opening parenthesis, in lower case: of functions, and of some keywords."""
    code = [token.text.strip('"').lower() for token in tokens(sql) if token.is_code]
    return {name for name, following in itertools.pairwise(code) if following == "("}


def without_final_semicolons(sql: str, *, mysql: bool = False) -> str:
    """Return a text without the semicolons at its end. All else keeps its place, comments behind them too."""
    parts = list(tokens(sql, mysql=mysql))
    for number, token in reversed(list(enumerate(parts))):
        if token.is_code:
            break
        if token.text == ";":
            parts[number] = Token("space", " ")
    return "".join(token.text for token in parts)


def _comment_end(sql: str, start: int) -> int:
    """Return where the comment that begins at `start` ends; comments can be nested."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)
