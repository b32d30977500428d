"""JSON from strangers: one way to read it, one error."""

from __future__ import annotations

import json


class NotJSON(ValueError):
    """The text is no JSON in UTF-8, or nested deeper than any honest document."""


def read_json(body: bytes) -> object:
    """
    Read a document.

    @param body: UTF-8, with or without byte order mark; the caller has cut it.
    @raise NotJSON: whatever is wrong with it.
    """
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: syntax, UTF-8, and integers of thousands of digits
        raise NotJSON("not JSON in UTF-8") from error


def read_object(body: bytes) -> dict[str, object]:
    """
    Read a document that has to be an object.

    @raise NotJSON: it is none.
    """
    document = read_json(body)
    if not isinstance(document, dict):
        raise NotJSON("JSON, but not an object")
    return document
