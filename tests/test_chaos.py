"""Each promise of L{tests.chaos.contract}, by the short form of its proof."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.contract import CONTRACT, run


class PromiseTests(SynchronousTestCase):
    """A test for each promise that is proved; its sentence is the promise."""


def _test(name: str) -> Callable[[PromiseTests], None]:
    def test(self: PromiseTests) -> None:
        found = run(name, full=False)
        self.assertTrue(found.held, f"{name}: {found.done}: {found.figure} {found.remark}")

    test.__doc__ = f"{CONTRACT[name].says}."
    return test


for _name, _promise in CONTRACT.items():
    if _promise.proof is not None:
        setattr(PromiseTests, f"test_{_name.lower()}", _test(_name))
