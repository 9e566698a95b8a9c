# SPDX-License-Identifier: MIT
"""What is in an image and how a rollout went, for people.

The report of an image has one set of facts (`facts`, `changes`, `findings`) and three faces: a page (`image_page`), Markdown
(`image_markdown`) and JSON (`document`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..files import write_text
from . import changes, facts, findings, image_markdown, image_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

MARKDOWN_SUFFIX = ".report.md"
PAGE_SUFFIX = ".report.html"

Compressed = findings.Compressed


def write(
    found: facts.Facts,
    payload: str,
    since: facts.Facts | None,
    limit: int,
    slot: int,
    commits: Mapping[str, Sequence[str]],
) -> None:
    """Write the report of a payload beside it: its facts, the page and Markdown.

    since: the image to compare with. limit, slot, commits: as in `Facts`. Raises OSError.
    """
    found = dataclasses.replace(found, limit=limit, slot=slot, commits=commits)
    changed = changes.compare(since, found) if since else None
    write_text(payload + facts.SUFFIX, facts.dumps(found))
    write_text(payload + PAGE_SUFFIX, image_page.html(found, changed))
    write_text(payload + MARKDOWN_SUFFIX, image_markdown.markdown(found, changed))


def document(
    found: facts.Facts, changed: changes.Changes | None = None, compressed: findings.Compressed = ()
) -> dict[str, Any]:
    """The report as JSON: the manifest, and what is known besides."""
    whole = findings.document(found, compressed)
    return {**whole, "changes": changed.document()} if changed else whole
