"""What a proof found."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import Factory, frozen


@frozen(kw_only=True)
class Finding:
    """
    @ivar done: what was done, with its numbers: C{"50 rounds of 2 000 posts to 20 hosts"}.
    @ivar figure: what was measured, in one sentence with units.
    @ivar held: whether that is what was promised.
    @ivar figures: the same for programs.
    @ivar remark: why a target is kept in kind only, or what was not shown.
    @ivar scope: where less is shown than the promise speaks of: C{"one process"}.
    """

    done: str
    figure: str
    held: bool
    figures: Mapping[str, float] = Factory(dict)
    remark: str = ""
    scope: str = ""


Proof = Callable[[bool], Finding]
"""Proves a promise, blocking: in full, or a tenth of it, to see that it still holds."""
