"""The documentation as data: its pages, their code blocks, and a terminal that executes the blocks.

Every page has a project of its own, except for the how-to guides: they share one, in the order of how-to/README.md.

The first line of a block says what to do with it:

    console            lines that begin with `$ ` are commands, the lines below are their output: `…` alone on a line
                       stands for any lines, within a line for any text
    console exit=4     the last command exits with 4, all others with 0
    console background the single command runs until the end of the page, and must soon print what the block shows
    python title=FILE  the block is written to that file of the page's project; append=FILE appends it

Other blocks are not executed. The ports 8000 and 8001 stand for free ports, in commands and in files.
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
TOOLKIT_PAGES = [page for page in DOCS if page.parent == ROOT / "docs/export"]
"""Pages that need every toolkit: `make test-toolkits` runs them."""
EXAMPLE_PAGES = [page for page in DOCS if page.with_name("prescore.toml").exists() and page.parent != ROOT]
"""Pages of the worked examples: `make test-examples` runs them."""
GUIDES = ROOT / "docs/how-to/README.md"
OPTIONS = {"exit", "background", "title", "append"}
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def live(self) -> bool:
        """Whether the block is executed or written to a file."""
        return self.language == "console" or bool(self.options)

    @property
    def commands(self) -> Iterator[tuple[str, str, str]]:
        """For each command: its place on the page, the command, and its expected output."""
        lines = self.text.splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            where = f"{self.page}, line {self.line + 1 + start}"
            yield where, lines[start].removeprefix("$ "), "\n".join(lines[start + 1 : end])


def _sequences() -> list[list[Path]]:
    """Return the pages by project, in the order of execution: the how-to guides together, each other page alone."""
    linked = re.findall(r"^- .*?\]\(([a-z-]+\.md)\)", GUIDES.read_text(), re.MULTILINE)
    guides = [GUIDES, *(GUIDES.parent / link for link in linked)]
    lost = set(GUIDES.parent.glob("*.md")) - set(guides)
    assert not lost, f"docs/how-to/README.md: begin an item with a link to each of {lost}"
    return [guides, *([page] for page in DOCS if page not in guides)]


SEQUENCES = _sequences()


def name(page: Path) -> str:
    """Return a page's path as messages show it."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the fenced code blocks of a page; raise AssertionError for an unknown option or a block without an end."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if opened is None and line.startswith("```"):
            opened = number, line.removeprefix("```")
        elif opened is not None and line == "```":
            first, header = opened
            found.append(_block(page, first, header, lines[first : number - 1]))
            opened = None
    assert opened is None, f"{name(page)}, line {opened and opened[0]}: this block does not end"
    return found


def _block(page: Path, line: int, header: str, lines: list[str]) -> Block:
    language, *words = header.split() or [""]
    options = dict(word.partition("=")[::2] for word in words)
    assert set(options) <= OPTIONS, f"{name(page)}, line {line}: unknown option; the options are {OPTIONS}"
    return Block(name(page), line, language, options, "\n".join(lines) + "\n")


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def sections(page: Path) -> dict[str, str]:
    """Return the text below each heading of a page, up to the next heading."""
    parts = re.split(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> dict[str, str]:
    """Return the rows of tables in a text, by each word in backticks in their first cell."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", line.split(" | ")[0]), line)
    return found


def fits(expected: str, printed: str) -> bool:
    """Return whether a command printed what its page shows, apart from trailing spaces and blank lines at the ends."""
    pattern = "".join(_pattern(line.rstrip()) for line in expected.strip("\n").splitlines())
    text = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*"
    return ".*".join(map(re.escape, line.split("…"))) + r"\n"


@dataclass
class Terminal:
    """A folder in which the blocks of a page are executed in order."""

    folder: Path
    database: str
    python: Path = Path(sys.executable)
    command: Path | None = None
    """A program `prescore` to use instead of Python's own."""
    ports: dict[str, str] = field(default_factory=lambda: {"8000": str(_free_port()), "8001": str(_free_port())})
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        """Write the block's file, or run its commands; raise AssertionError if they do not print what it shows."""
        title = block.options.get("title") or block.options.get("append")
        if title:
            self._write(block, title)
        elif block.language == "console":
            self._run_commands(block)

    def close(self) -> None:
        """Terminate the commands that run in the background."""
        for process in self.running:
            process.terminate()
            process.wait(30)

    def _write(self, block: Block, title: str) -> None:
        target = self.folder / title
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a" if "append" in block.options else "w") as file:
            file.write(self._with_port(block.text))

    def _run_commands(self, block: Block) -> None:
        commands = list(block.commands)
        assert commands, f"{block.page}, line {block.line}: a console block needs commands that begin with `$ `"
        run = self._start if "background" in block.options else self._run
        for number, (where, command, expected) in enumerate(commands, 1):
            is_last = number == len(commands)
            code = int(block.options.get("exit", 0)) if is_last else 0
            run(where, self._with_port(command), self._with_port(expected), code)

    def _run(self, where: str, command: str, expected: str, code: int) -> None:
        if command.startswith("curl ") and shutil.which("curl") is None:
            return
        result = subprocess.run(
            command, shell=True, cwd=self.folder, env=self._environment(), timeout=SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        difference = _difference(where, command, expected, result.stdout)
        assert result.returncode == code, (
            f"{difference}\nIt exited with {result.returncode}; the page says {code} (exit=…)."
        )
        assert fits(expected, result.stdout), difference

    def _start(self, where: str, command: str, expected: str, _code: int) -> None:
        log = self.folder / f".background{len(self.running)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                f"exec env {command}", shell=True, cwd=self.folder, env=self._environment(), stdout=out, stderr=out
            )
        self.running.append(process)
        deadline = time.monotonic() + SECONDS
        while not fits(expected, log.read_text()):
            is_waiting = process.poll() is None and time.monotonic() < deadline
            assert is_waiting, _difference(where, command, expected, log.read_text())
            time.sleep(0.1)

    def _with_port(self, text: str) -> str:
        return re.sub(r"(?<=:)800[01]\b|(?<=--port )800[01]\b", lambda match: self.ports[match[0]], text)

    def _environment(self) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PRESCORE_")}
        programs = [path.parent for path in (self.command, self.python) if path is not None]
        environment["PATH"] = os.pathsep.join([*map(str, programs), environment["PATH"]])
        environment["COLUMNS"] = "120"
        environment["PYTHONUNBUFFERED"] = "1"
        # Two threads of OpenMP that wait for each other are slow where other tests run.
        environment["OMP_NUM_THREADS"] = "1"
        environment["PRESCORE_DATABASE_URL"] = self.database
        return environment


def _difference(where: str, command: str, expected: str, printed: str) -> str:
    return f"{where}\n$ {command}\nThe page shows:\n{expected}\nIt printed:\n{printed}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
