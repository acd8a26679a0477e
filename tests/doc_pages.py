"""The documentation as data: its pages, their blocks, and a terminal that does what they show.

A block says in its first line what it is for:

    console            lines that begin with `$ ` are run, those below are what they print: `…` alone on a line stands
                       for any lines, within a line for any text
    console exit=4     the last command ends with 4; all others with 0
    console background the one command is left running until the page ends, and must soon print what the block says
    python title=FILE  the block is written to that file of the page's project; append=FILE adds to it

Other blocks are only to be read. Port 8000 stands for a free one, in commands and in files.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONS = {"exit", "background", "title", "append"}
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def live(self) -> bool:
        """Whether anything is done with it."""
        return self.language == "console" or bool(self.options)

    @property
    def commands(self) -> Iterator[tuple[str, str, str]]:
        """Where each command stands, the command, and what it is to print."""
        lines = self.text.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            where = f"{self.page}, line {self.line + 1 + start}"
            yield where, lines[start].removeprefix("$ "), "\n".join(lines[start + 1 : end])


def name(page: Path) -> str:
    """A page as messages call it."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; an option that is none of OPTIONS is an error."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if opened is None and line.startswith("```"):
            opened = number, line.removeprefix("```")
        elif opened is not None and line == "```":
            language, *options = opened[1].split() or [""]
            given = dict(option.partition("=")[::2] for option in options)
            assert set(given) <= OPTIONS, f"{name(page)}, line {opened[0]}: no such option; there are {OPTIONS}"
            found.append(Block(name(page), opened[0], language, given, "\n".join(lines[opened[0] : number - 1]) + "\n"))
            opened = None
    assert opened is None, f"{name(page)}, line {opened and opened[0]}: this block does not end"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def sections(page: Path) -> dict[str, str]:
    """What stands below each heading, up to the next."""
    parts = re.split(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> dict[str, str]:
    """The rows of a page's tables by the words in backticks of their first cell."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", line.split(" | ")[0]), line)
    return found


def fits(expected: str, printed: str) -> bool:
    """Whether a command printed what its page shows."""
    lines = (_pattern(line.rstrip()) for line in expected.strip("\n").splitlines())
    given = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(lines), given) is not None


def _pattern(line: str) -> str:
    return r"(?:.*\n)*" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"


@dataclass
class Terminal:
    """A folder in which a page's blocks are done, one after the other, as a reader would."""

    folder: Path
    database: str
    port: str = field(default_factory=lambda: str(_free_port()))
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        """Write the block's file, or run its commands."""
        if title := block.options.get("title") or block.options.get("append"):
            target = self.folder / title
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a" if "append" in block.options else "w") as file:
                file.write(self._ported(block.text))
        elif block.language == "console":
            commands = list(block.commands)
            assert commands, f"{block.page}, line {block.line}: a console block has commands that begin with `$ `"
            for i, (where, command, expected) in enumerate(commands):
                code = int(block.options.get("exit", 0)) if i == len(commands) - 1 else 0
                run = self._start if "background" in block.options else self._run
                run(where, self._ported(command), self._ported(expected), code)

    def close(self) -> None:
        """End what was left running."""
        for process in self.running:
            process.terminate()
            process.wait(30)

    def _run(self, where: str, command: str, expected: str, code: int) -> None:
        if command.startswith("curl ") and shutil.which("curl") is None:
            return
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self._environment(), timeout=SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = _difference(where, command, expected, done.stdout)
        assert done.returncode == code, f"{said}\nIt ended with {done.returncode}; the page says {code} (exit=…)."
        assert fits(expected, done.stdout), said

    def _start(self, where: str, command: str, expected: str, _code: int) -> None:
        log = self.folder / f".background{len(self.running)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                f"exec env {command}", shell=True, cwd=self.folder, env=self._environment(), stdout=out, stderr=out
            )
        self.running.append(process)
        deadline = time.monotonic() + SECONDS
        while not fits(expected, log.read_text()):
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, _difference(where, command, expected, log.read_text())
            time.sleep(0.1)

    def _ported(self, text: str) -> str:
        return re.sub(r"(?<=:)8000\b|(?<=--port )8000\b", self.port, text)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PRESCORE_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        ours = {"PATH": path, "COLUMNS": "120", "PYTHONUNBUFFERED": "1", "PRESCORE_DATABASE_URL": self.database}
        return kept | ours


def _difference(where: str, command: str, expected: str, printed: str) -> str:
    return f"{where}\n$ {command}\nThe page shows:\n{expected}\nIt printed:\n{printed}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
