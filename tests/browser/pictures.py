"""The pictures that stand in the documents: C{make screenshots}."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.case import log_in
from tests.browser.stage import PASSWORD, Stage

MOST = 200_000
"""Bytes of one picture."""


def take(stage: Stage, browser: Browser, folder: Path) -> None:
    """Take them all."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(color_scheme="light", reduced_motion="reduce", locale="en-GB", device_scale_factor=0.8)
    page = context.new_page()
    page.set_viewport_size({"width": 1200, "height": 1570})
    page.goto(f"{stage.busy.public}/")
    expect(page.locator("[data-live]")).to_have_class(re.compile("is-live"))
    page.screenshot(path=folder / "dashboard.jpg", type="jpeg", quality=85)  # its head is a picture itself, and large as PNG
    page.set_viewport_size({"width": 1200, "height": 900})
    page.goto(f"{stage.busy.admin}/admin/login")
    log_in(page, PASSWORD)
    expect(page.get_by_role("status")).to_be_visible()
    page.goto(f"{stage.busy.admin}/admin/nodes?which=subscribed&sort=state&desc=1")
    page.screenshot(path=folder / "nodes.png")
    for picture in folder.iterdir():
        if (size := picture.stat().st_size) > MOST:
            raise SystemExit(f"{picture} has {size} bytes; that is more than {MOST}.")
