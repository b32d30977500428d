"""Asking the public site's resources in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import frozen
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from socialrelay.config import Config, Operator
from socialrelay.diaspora.identity import Introduction

GUID = "f00dcafe0123456789abcdef01234567"
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"


@frozen
class Answer:
    """What came back."""

    code: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's only value; empty if there is none."""
        values = self.headers.getRawHeaders(name, [])
        assert len(values) < 2, values
        return values[0].decode() if values else ""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(case: SynchronousTestCase, resource: IResource, path: str, method: str = "GET", **options: Any) -> Answer:
    """The answer to a request, which must come at once and be no redirect."""
    treq: Any = StubTreq(resource)
    response = case.successResultOf(treq.request(method, f"https://relay.example{path}", allow_redirects=False, **options))
    case.assertNotIn(response.code // 100, (1, 3))
    return Answer(response.code, response.headers, case.successResultOf(treq.content(response)))


def introduction(**changes: Any) -> Introduction:
    """A relay's introduction."""
    values = {"base_url": "https://relay.example", "username": "relay", "host": "relay.example", "guid": GUID}
    return Introduction(**(values | {"name": "Relay relay.example", "public_pem": PEM, "version": "1.2.3"} | changes))


def config(**changes: Any) -> Config:
    """A production configuration."""
    values: dict[str, Any] = {"state_dir": Path("/nonexistent"), "host": "relay.example", "operator": Operator("Ada", "ada@relay.example")}
    return Config(**(values | changes))
