# SPDX-License-Identifier: MIT
"""The project's Markdown pages as tests see them: links, headings, tables, code.

In these pages a line that is indented by four or more spaces is code; there are no fenced blocks.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"


def files(*patterns: str) -> list[Path]:
    """The project's files that match the git pathspecs, new ones included."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return sorted({PROJECT / name for name in listed.split("\0") if name and (PROJECT / name).exists()})


def all_pages() -> list[Path]:
    """Every Markdown file of the project."""
    return files("*.md")


def name(page: Path) -> str:
    """The page's path in the project, for the ids of tests."""
    return str(page.relative_to(PROJECT))


def code(page: Path) -> list[str]:
    """The lines of a page that are code, without indentation; a line that ends in a backslash and the next are one."""
    return code_of(page.read_text())


def code_of(text: str) -> list[str]:
    """The same of a part of a page."""
    lines = (line.strip() for line in text.splitlines() if line.startswith("    "))
    return "\n".join(lines).replace("\\\n", "").splitlines()


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return "\n".join(line for line in page.read_text().splitlines() if not line.startswith("    "))


def links(page: Path) -> list[str]:
    """The targets of all links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(page: Path, title: str) -> str:
    """The text between a heading and the next one of the same or a higher level."""
    text = page.read_text()
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"{name(page)} has no section {title!r}"
    following = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", following, re.MULTILINE)
    return following[: end.start()] if end else following


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose header begins with this cell."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split(" |")])
    return rows


def plain(cell: str) -> str:
    """The text of a table cell without its backticks."""
    return cell.replace("`", "")
