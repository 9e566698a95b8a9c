# SPDX-License-Identifier: MIT
"""Uploads: written and hashed while they stream in, so that memory stays flat whatever their size."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.responses import Response

from .problems import Problem
from .web import PARTNER, Call, route


class Sink:
    """A file under way: its bytes go to the disk and into the hash."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.hash, self.size = stream, hashlib.sha256(), 0

    def write(self, block: bytes) -> None:
        self.stream.write(block)
        self.hash.update(block)
        self.size += len(block)


class Form:
    """Takes the file out of a multipart/form-data body: the first part with a file name, or the name `file`."""

    def __init__(self, boundary: bytes, sink: Sink):
        self.sink, self.complete = sink, False
        self._found = self._inside = False
        self._field, self._value = bytearray(), bytearray()
        callbacks: Any = {
            "on_part_begin": self._leave,
            "on_header_field": lambda block, start, end: self._field.extend(block[start:end]),
            "on_header_value": lambda block, start, end: self._value.extend(block[start:end]),
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_part_end": self._leave,
            "on_end": self._end,
        }
        self.parser = MultipartParser(boundary, callbacks)

    def write(self, block: bytes) -> None:
        self.parser.write(block)

    def _leave(self) -> None:
        self._inside = False

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition" and not self._found:
            _, options = parse_options_header(bytes(self._value))
            self._found = self._inside = b"filename" in options or options.get(b"name") == b"file"
        self._field.clear()
        self._value.clear()

    def _data(self, block: bytes, start: int, end: int) -> None:
        if self._inside:
            self.sink.write(block[start:end])

    def _end(self) -> None:
        self.complete = True


@contextlib.contextmanager
def part_file(path: Path) -> Iterator[Sink]:
    """A file that is gone again unless it was renamed by the end."""
    try:
        with path.open("wb") as stream:
            yield Sink(stream)
    finally:
        path.unlink(missing_ok=True)


@route("POST", PARTNER + "/binaries", answer="Sha256", body="binary")
async def upload(call: Call) -> Response:
    """Upload a file, raw or as a form; the answer is its SHA-256."""
    kind, options = parse_options_header(call.request.headers.get("content-type"))
    path = call.store.new_part()
    with part_file(path) as sink:
        if kind == b"multipart/form-data":
            await _receive_form(call, options.get(b"boundary", b""), sink)
        elif kind in (b"application/octet-stream", b""):
            async for block in call.request.stream():
                sink.write(block)
        else:
            raise Problem(415, "send application/octet-stream or multipart/form-data")
        if not sink.size:
            raise Problem(400, "the file is empty", "validationFailure")
        sink.stream.flush()
        digest = sink.hash.hexdigest()
        call.store.keep_upload(path, digest, sink.size)
    return call.answer({"value": digest})


async def _receive_form(call: Call, boundary: bytes, sink: Sink) -> None:
    if not boundary:
        raise Problem(400, "the Content-Type names no boundary")
    form = Form(boundary, sink)
    try:
        async for block in call.request.stream():
            form.write(block)
    except MultipartParseError as error:
        raise Problem(400, f"the form cannot be read: {error}") from None
    if not form.complete:
        raise Problem(400, "the form ends too early")


@route("POST", PARTNER + "/binaries/moveToRepository", answer="Value", body="Value")
async def move(call: Call) -> Response:
    """Move an uploaded file to the repository; the answer is its URL."""
    body = await call.json()
    name = call.store.move(body["value"].lower())
    if name is None:
        raise Problem(404, "there is no uploaded file with this identifier")
    host, port = call.request.scope["server"]
    return call.answer({"value": f"http://{host}:{port}/repository/{name}"})
