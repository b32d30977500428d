"""What is looked at when all else is over."""

from __future__ import annotations

import re

from tests.browser.case import BrowserCase


class LogTests(BrowserCase):
    def test_unexpected(self) -> None:
        """Whatever visitors and operators did, neither relay met anything that it did not expect."""
        for relay in (self.stage.busy, self.stage.fresh):
            log = relay.daemon.log
            self.assertNotIn("Traceback", log, log[max(0, log.find("Traceback") - 500) :][:3000])
            self.assertEqual(re.findall(r"\[(?:error|critical)\].*", log), [])
