# SPDX-License-Identifier: MIT
"""The frame of a self-contained HTML page: escaping, elements, head, style, script.

Text is escaped wherever it enters; only `Markup` passes as it is. The page may load nothing and run nothing but the style and
the script that it was made with: its Content-Security-Policy names their hashes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import os
from typing import Union

from ..text import visible

_VOID = frozenset({"br", "input", "link", "meta"})
_HERE = os.path.dirname(os.path.abspath(__file__))


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Union[str, int, None]  # None is left out
Attribute = Union[str, int, float, bool, None]  # None and False are left out


@functools.lru_cache(maxsize=1 << 14)
def text(value: str, limit: int = 300) -> Markup:
    """A text as HTML, harmless in an element and in a quoted attribute; control characters are shown, the rest is cut."""
    cut = value if len(value) <= limit else value[: limit - 1] + "…"
    return Markup(html.escape(visible(cut)))


def element(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element; `class_` is the attribute `class`, `aria_label` is `aria-label`."""
    parts = ["<", name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            parts.append(f" {key.rstrip('_').replace('_', '-')}")
            parts.append("" if value is True else f'="{_attribute(value)}"')
    parts.append(">")
    if name not in _VOID:
        parts += [_html(child) for child in children if child is not None]
        parts.append(f"</{name}>")
    return Markup("".join(parts))


def join(*children: Child) -> Markup:
    """Several pieces, one after the other."""
    return Markup("".join(_html(child) for child in children if child is not None))


def document(title: str, body: Markup, script: str = "") -> str:
    """A whole page. script: code that the page works without; neither it nor the style may contain `</`."""
    style = own_file("page.css")
    allowed = [
        "default-src 'none'",
        "img-src data:",
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'" if script else "script-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    head = join(
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(allowed)}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        # or browsers would ask the server for one
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    )
    end = element("script", Markup(script)) if script else ""
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}{end}</body></html>\n'


@functools.cache
def own_file(name: str) -> str:
    """A style or script that lies beside this module."""
    with open(os.path.join(_HERE, name), encoding="utf-8") as stream:
        return stream.read()


def _html(child: str | int) -> str:
    return child if isinstance(child, Markup) else text(str(child))


def _attribute(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return _html(value)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
