# SPDX-License-Identifier: MIT
"""Files on their way out, whole or in part (RFC 9110: Range, If-Range, ETag), streamed from the disk."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .problems import Problem
from .web import Call, route

_BLOCK = 256 * 1024


def deliver(request: Request, head: bytes, path: Path, size: int, etag: str) -> Response:
    """`head` followed by the `size` bytes of a file, or the part of it that the request asks for."""
    total = len(head) + size
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    start, end, status = 0, total, 200
    wanted = request.headers.get("range", "")
    if wanted and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        found = _range(wanted, total)
        if found:
            (start, end), status = found, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(_blocks(head, path, start, end), status, headers, "application/octet-stream")


def _range(text: str, total: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None when the header is to be ignored (several ranges, not bytes)."""
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", text.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return None
    if found[1]:
        start, end = int(found[1]), min(int(found[2] or total), total - 1) + 1
        if found[2] and int(found[2]) < start:
            return None
    else:
        start, end = max(0, total - int(found[2])), total
    if start >= total:
        raise Problem(416, f"the file has {total} bytes", headers={"Content-Range": f"bytes */{total}"})
    return start, end


async def _blocks(head: bytes, path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    if start < len(head):
        yield head[start : min(end, len(head))]
    position, stop = max(start - len(head), 0), end - len(head)
    async with await anyio.open_file(path, "rb") as stream:
        await stream.seek(position)
        while position < stop and (block := await stream.read(min(_BLOCK, stop - position))):
            yield block
            position += len(block)


@route("GET", "/repository/{file}", public=True)
async def repository(call: Call) -> Response:
    """A file of the repository, as it was uploaded."""
    file = call.store.file(call.path["file"])
    if file is None:
        raise Problem(404, "the repository has no such file")
    return deliver(call.request, b"", call.store.repository / file["name"], file["size"], file["sha256"])
