# SPDX-License-Identifier: MIT
"""The forms that configured values may have. Each check takes a raw value (None for "not set") and returns it in its final form.

A check raises ValueError with the reason, worded to follow the name of the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

SERVICE_URL = "https://api.afero.io"  # docs/CloudAPIs.md
IMAGE_FILE = "hub_update.bin"  # the name in Afero's sample configuration
NAME_LIMIT, TAG_LIMIT, DESCRIPTION_LIMIT = 35, 35, 500  # characters, docs/API-OTAEndpoints.md

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUE, _FALSE = {"1", "true", "yes", "on", "y"}, {"", "0", "false", "no", "off", "n"}


def text(value: Any) -> str:
    """One line of text without surrounding blanks; "" when it is not set."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"is {kind(value)}, expected text: put it in quotes")
    if _CONTROL.search(value):
        raise ValueError("contains a line break or another control character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains half a character (a lone surrogate)") from None
    return value.strip()


def name(value: Any) -> str:
    """The name of a record, at most 35 characters."""
    return _limited(value, NAME_LIMIT)


def description(value: Any) -> str:
    """The description of a record, at most 500 characters."""
    # a description may have line breaks in a YAML file; the service gets one line
    return _limited(" ".join(value.split()) if isinstance(value, str) else value, DESCRIPTION_LIMIT)


def word(value: Any) -> str:
    """Text without blanks, such as an id."""
    found = text(value)
    if any(c.isspace() for c in found):
        raise ValueError(f"{found!r} contains a space")
    return found


def build_number(value: Any) -> str:
    """A number of up to 18 digits, as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = text(value)
    if found and not re.fullmatch(r"[0-9]{1,18}", found):
        raise ValueError(f"{found!r} is not a number of up to 18 digits")
    return found


def yes_or_no(value: Any) -> bool:
    """Whether a yes/no setting says yes; not set is no."""
    if isinstance(value, bool):
        return value
    answer = "" if value is None else str(value).strip().lower()
    if answer in _TRUE or answer in _FALSE:
        return answer in _TRUE
    raise ValueError(f"{value!r} is neither yes nor no (1, true, yes or 0, false, no)")


def tags(value: Any) -> tuple[str, ...]:
    """Tags from a list or from words in one text, each at most 35 characters, without repetitions."""
    if isinstance(value, str):
        value = value.split()
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"is {kind(value)}, expected a list of texts")
    found = []
    for item in value:
        tag = _limited(item, TAG_LIMIT)
        if not tag or "," in tag:
            raise ValueError(f"the tag {tag!r} is empty or contains a comma (the service separates tags by commas)")
        found.append(tag)
    return tuple(dict.fromkeys(found))


def image_file(value: Any) -> str:
    """The payload's path, given as text or as slot A of a mapping; hub_update.bin when it is not set."""
    if isinstance(value, Mapping):
        # Afero's tool looked for "a", its documentation says "A"
        slots = {str(slot).upper(): path for slot, path in value.items()}
        if value and "A" not in slots:
            raise ValueError(f'has no slot "A" (found: {", ".join(map(repr, sorted(slots)))})')
        value = slots.get("A")
    path = text(value)
    if path and path.endswith("/"):
        raise ValueError(f"{path!r} names a folder, expected a file such as {IMAGE_FILE}")
    return path or IMAGE_FILE


def service_url(value: Any) -> str:
    """A base URL without trailing slash; https, or http to this machine; Afero's own when it is not set."""
    url = text(value) or SERVICE_URL
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL ({error})") from None
    if not host or any(c.isspace() for c in url):
        raise ValueError(f"{url!r} is not a URL such as {SERVICE_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("has a user name, a query or a fragment; only scheme, host, port and path are allowed")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(f"{url!r}: https is required (http only to a loopback address such as 127.0.0.1)")
    return url.rstrip("/")


def kind(value: Any) -> str:
    """The kind of a value, in words for messages."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return {"dict": "a mapping", "list": "a list", "tuple": "a list"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _limited(value: Any, limit: int) -> str:
    found = text(value)
    if len(found) > limit:
        raise ValueError(f"{len(found)} characters, at most {limit} are allowed: {found[:limit]!r}…")
    return found


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
