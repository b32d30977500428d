"""What forms send, and what of it an act is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from attrs import Factory, frozen
from twisted.internet.defer import Deferred
from twisted.web.server import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from socialrelay.moderation.formats import MAX_LIST
from socialrelay.web.request import header_texts

MAX_FORM = 64 * 1024
MAX_UPLOAD = MAX_LIST + 64 * 1024
MAX_FIELDS = 50
_THREAD_FROM = 64 * 1024


class TooLong(Exception):
    """A form of more than it may have; the message says how much that is."""


@frozen
class Form:
    """
    The fields of a form.

    @ivar fields: name -> values, in the order in which they stand in the form. An uploaded file's is its text, and C{NAME.file} what the
        file is called.
    """

    fields: Mapping[str, list[str]] = Factory(dict)

    def get(self, name: str) -> str:
        """The last value; empty if there is none."""
        return self.fields.get(name, [""])[-1]

    def said(self, kinds: Mapping[str, type]) -> dict[str, object]:
        """
        What the form says of these fields: those left empty are not said, a box that is ticked is true, and a list is what stands between
        blanks and commas.

        @param kinds: name -> C{str}, C{int}, C{bool} or C{list}. A number that is none stays a text, which whoever is told will refuse.
        """
        said: dict[str, object] = {}
        for name, kind in kinds.items():
            text = next((value.strip() for value in reversed(self.fields.get(name, [])) if value.strip()), "")
            if not text:
                continue
            if kind is list:
                said[name] = [each for value in self.fields[name] for each in re.split(r"[\s,;]+", value) if each]
            elif kind is bool:
                said[name] = text not in ("0", "false", "no")
            elif kind is int and re.fullmatch(r"\d{1,9}", text):
                said[name] = int(text)
            else:
                said[name] = text
        return said


async def read_form(request: Request, in_thread: Callable[..., Deferred[Any]], most: int = MAX_UPLOAD) -> Form:
    """
    Read a request's body. A large one is read in a thread.

    @param most: bytes that it may have.
    @raise TooLong: it has more bytes or fields than it may.
    """
    kind, options = parse_options_header("".join(header_texts(request, "Content-Type")[-1:]))
    body: bytes = request.content.read() if request.content is not None else b""
    typed = kind != "multipart/form-data"
    most = min(most, MAX_FORM if typed else MAX_UPLOAD)
    if len(body) > most:
        raise TooLong(f"The form is too long: it may have {most // 1024} KiB.{' A longer list is sent as a file.' if typed else ''}")
    if typed:
        return _urlencoded(body)
    if len(body) > _THREAD_FROM:
        return await in_thread(_multipart, body, options)
    return _multipart(body, options)


def _urlencoded(body: bytes) -> Form:
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise TooLong(f"The form has more than {MAX_FIELDS} fields.") from None
    return Form(_gathered(pairs))


def _multipart(body: bytes, options: dict[str, str]) -> Form:
    parser = FormDataParser(
        stream_factory=lambda *_, **__: BytesIO(), max_form_memory_size=MAX_UPLOAD, max_form_parts=MAX_FIELDS, silent=True
    )
    try:
        _, form, files = parser.parse(BytesIO(body), "multipart/form-data", len(body), options)
    except RequestEntityTooLarge:
        raise TooLong(f"The form has more than {MAX_FIELDS} fields.") from None
    except (BadRequest, ValueError):
        return Form()
    pairs = list(form.items(multi=True))
    for name, file in files.items(multi=True):
        pairs += [(name, file.read().decode("utf-8-sig", "replace")), (f"{name}.file", file.filename or "")]
    return Form(_gathered(pairs))


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
