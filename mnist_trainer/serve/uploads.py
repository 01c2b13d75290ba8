"""The pictures in the body of a request: one as it is, or many as the files of a form. They stay in memory."""

from __future__ import annotations

import re
from io import BytesIO
from urllib.parse import unquote

from fastapi import HTTPException, Request

from mnist_trainer.pipeline.predict import InputImage

MAX_PICTURES = 100
"""The number of pictures in a request at most."""

MAX_PARTS, MAX_HEAD = MAX_PICTURES + 10, 8192
"""The number of parts of a form at most, and the bytes of the headers of a part."""

PARAMETER = re.compile(r"""\s*;\s*([\w*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))""")
"""A parameter of a header: its name, and its value with or without quotes."""

NO_PICTURES = ("application/json", "text/", "multipart/")
"""Content types of bodies that are refused, because they are no picture."""

NO_FILES = "There is no picture: send it as the body, or one or more as files in the field `files` of a form."


async def received_pictures(request: Request) -> list[InputImage]:
    """Return the pictures in the body of a request, named as their files, or `-`.

    Raises `HTTPException` if there is none, or if the body is a damaged form.
    """
    kind = request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/form-data"):
        pictures = [
            InputImage(file or "-", BytesIO(content))
            for name, file, content in form_parts(await request.body(), kind)
            if name == "files" and file is not None
        ]
        if len(pictures) > MAX_PICTURES:
            raise HTTPException(413, f"A request may have {MAX_PICTURES} pictures at most.")
    elif kind.lower().startswith(NO_PICTURES):
        raise HTTPException(415, f"A body of type {kind.partition(';')[0]} is no picture. {NO_FILES}")
    else:
        body = await request.body()
        pictures = [InputImage("-", BytesIO(body))] if body else []
    if not pictures:
        raise HTTPException(400, NO_FILES)
    return pictures


def form_parts(body: bytes, kind: str) -> list[tuple[str, str | None, bytes]]:
    """Return the parts of a form (RFC 7578) of the content type `kind`: name, name of the file if it is one, content.

    Raises `HTTPException` if it is damaged. Starlette's parser would write large files to the disk, and returns the
    complete parts of a form that was cut.
    """
    boundary = _parameters(kind).get("boundary", "")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(errors="replace"), MAX_PARTS + 1)
    if len(parts) > MAX_PARTS:
        raise HTTPException(413, f"A form may have {MAX_PARTS} parts at most.")
    if not boundary or not parts or not parts.pop().startswith(b"--"):
        raise HTTPException(400, "The form is damaged: its end is missing.")
    return [_parse_part(part) for part in parts]


def _parse_part(part: bytes) -> tuple[str, str | None, bytes]:
    """Return the name, the name of the file, and the content of a part."""
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or len(head) > MAX_HEAD:
        raise HTTPException(400, "The form is damaged: one of its parts has no headers.")
    fields = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    about = _parameters({name.strip().lower(): value for name, _, value in fields}.get("content-disposition", ""))
    encoded = unquote(about.get("filename*", "").rpartition("'")[2]) or None  # RFC 5987: UTF-8''a%20b
    return about.get("name", ""), about.get("filename", encoded), content


def _parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header by name, in one pass: those of `email` take quadratic time."""
    found, position = {}, header.find(";")
    while position >= 0 and (match := PARAMETER.match(header, position)):
        name, quoted, plain = match.groups()
        found[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = match.end()
    return found
