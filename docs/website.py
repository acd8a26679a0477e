"""Build the documentation as a website: `make docs` writes it to build/site.

The pages are written for a copy of the source: they link to files outside of docs/, and their code blocks have options
for the tests. This script copies them to build/docs, where links lead to pages and files of the website, and adds the
reference from docstrings. Zensical then builds the website, and fails for a link or an anchor that leads nowhere.
Browsers load nothing for it from other hosts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build/docs"
PAGES = {
    ROOT / "README.md": "index.md",
    ROOT / "CHANGELOG.md": "changes.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
}
"""Where the pages outside of docs/ are in the website. The others keep their place."""
API = {
    "prescore": "jobs/prescore/__init__.py",
    "prescore_api.client": "lookup_api/prescore_api/client/__init__.py",
    "prescore_dags": "dags/prescore_dags/__init__.py",
}
"""The packages whose exported names have their docstrings in the reference → the file with `__all__`."""


def main() -> None:
    """Prepare the pages and build the website; exit with 1 if a page is not in its navigation, or a link is wrong."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (*PAGES, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.ipynb"))):
        target = SOURCE / place(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(prepared(page))
        if place(page) not in navigation:
            sys.exit(f"{page.relative_to(ROOT)} is not in the navigation. Add {place(page)} to nav in mkdocs.yml.")
    (SOURCE / "reference/api.md").write_text(reference())
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(1)
    if loaded := sorted(set(foreign(ROOT / "build/site"))):
        sys.exit(f"The website loads from other hosts: {loaded}")


def foreign(site: Path) -> Iterator[str]:
    """Yield the elements with which the pages of a website load something from another host."""
    for page in site.rglob("*.html"):
        yield from re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\W?https?://[^>]*>", page.read_text())


def place(file: Path) -> str:
    """Return where a page or a file of the repository is in the website, relative to its root."""
    if file in PAGES:
        return PAGES[file]
    if not file.is_relative_to(ROOT / "docs"):
        return f"files/{file.relative_to(ROOT)}"
    return str(file.relative_to(ROOT / "docs")).replace("README.md", "index.md").replace(".ipynb", ".md")


def prepared(page: Path) -> str:
    """Return the text of a page with the links and code blocks of the website; copy the files that it links to."""
    lines = []
    is_code = False
    text = page.read_text()
    for line in (notebook(text) if page.suffix == ".ipynb" else text).splitlines():
        if line.startswith("```"):
            is_code = not is_code
            lines.append(fence(line))
        else:
            lines.append(line if is_code else sentence(page, line))
    return "\n".join(lines) + "\n"


def notebook(text: str) -> str:
    """Return a notebook as Markdown, with the outputs of its cells."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str:
    """Return an output of a cell as Markdown: a table as it is, and other text as code."""
    data = output.get("data", {})
    if "text/html" in data:
        html = "".join(data["text/html"]).replace(' border="1" class="dataframe"', "")
        return "\n".join(line.strip() for line in html.splitlines() if line.strip())
    return "```text\n" + "".join(output.get("text") or data["text/plain"]).rstrip("\n") + "\n```"


def sentence(page: Path, line: str) -> str:
    """Return a line of prose with the website's links; a heading that looks like HTML gets its anchor."""
    if line.startswith("#") and "<" in line:
        anchor = re.sub(r"[^\w-]", "", line)
        line = f"{line} {{#{anchor}}}"
    return re.sub(r"\]\(([^)\s]+)\)", lambda link: f"]({moved(page, link[1])})", line)


def fence(line: str) -> str:
    """Return the first line of a code block without the options for the tests, but with the name of its file."""
    language, *options = line.split() or [""]
    titles = [option.partition("=")[2] for option in options if option.startswith(("title=", "append="))]
    return f'{language} title="{titles[0]}"' if titles else language


def moved(page: Path, link: str) -> str:
    """Return the website's link for a link of a page."""
    path, hash_sign, anchor = link.partition("#")
    if not path or "://" in path:
        return link
    target = (page.parent / path).resolve()
    target = target / "README.md" if target.is_dir() else target
    if target.suffix not in {".md", ".ipynb"}:
        copy = SOURCE / place(target)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target, copy)
    return os.path.relpath(place(target), Path(place(page)).parent) + hash_sign + anchor


def reference() -> str:
    """Return a page with the docstring of every exported name."""
    lines = ["# Python classes and functions", ""]
    for package, file in API.items():
        lines += [f"## {package}", ""]
        for name in exported(ROOT / file):
            lines += [f"::: {package}.{name}", ""]
    return "\n".join(lines)


def exported(file: Path) -> list[str]:
    """Return the names in the `__all__` of a module."""
    listed = re.search(r"^__all__ = \[(.*?)\]", file.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r'"(\w+)"', listed[1]) if listed else []


if __name__ == "__main__":
    main()
