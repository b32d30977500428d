"""Tests for L{socialrelay.running.disk}."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.disk import DiskSpace

BLOCK = 4096


class DiskTests(SynchronousTestCase):
    def space(self, free: int, size: int) -> DiskSpace:
        """A disk with so many bytes."""

        def in_thread(work: Callable[..., Any], *arguments: object) -> Deferred[os.statvfs_result]:
            self.assertEqual((work, arguments), (os.statvfs, (Path("/data"),)))
            return succeed(os.statvfs_result((BLOCK, BLOCK, size // BLOCK, free // BLOCK, free // BLOCK, 0, 0, 0, 0, 255)))

        space = DiskSpace(Path("/data"), in_thread)
        self.assertTrue(space.condition().well)
        self.successResultOf(Deferred.fromCoroutine(space.look()))
        return space

    def test_enough(self) -> None:
        """With a tenth of a large disk free all is well."""
        condition = self.space(10 * 10**9, 100 * 10**9).condition()
        self.assertTrue(condition.well)
        self.assertEqual(condition.detail, "10.0 GB of 100.0 GB are free where /data is")

    def test_share(self) -> None:
        """Less than a twentieth is too little, however much it is; the relay still does its work."""
        condition = self.space(40 * 10**9, 1000 * 10**9).condition()
        self.assertEqual((condition.well, condition.essential), (False, False))
        self.assertEqual(condition.detail, "only 40.0 GB of 1000.0 GB are free where /data is")

    def test_least(self) -> None:
        """Less than half a gigabyte is too little, however small the disk is."""
        self.assertFalse(self.space(400 * 10**6, 10**9).condition().well)

    def test_real(self) -> None:
        """A real folder has some room."""
        space = DiskSpace(Path("/"), lambda work, *arguments: succeed(work(*arguments)))
        self.successResultOf(Deferred.fromCoroutine(space.look()))
        self.assertGreater(space.size, space.free)
