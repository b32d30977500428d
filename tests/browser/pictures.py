"""The pictures that stand in the documents: C{make screenshots}."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.case import log_in
from tests.browser.stage import PASSWORD, Stage

SIZE = {"width": 1280, "height": 960}
MOST = 200_000
"""Bytes of one picture."""


def take(stage: Stage, browser: Browser, folder: Path) -> None:
    """Take them all."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce", locale="en-GB")
    page = context.new_page()
    page.goto(f"{stage.busy.public}/")
    page.wait_for_load_state("load")
    page.screenshot(path=folder / "dashboard.png")
    page.goto(f"{stage.busy.admin}/admin/login")
    log_in(page, PASSWORD)
    page.goto(f"{stage.busy.admin}/admin/nodes?which=subscribed")
    page.screenshot(path=folder / "nodes.png")
    for picture in folder.glob("*.png"):
        if (size := picture.stat().st_size) > MOST:
            raise SystemExit(f"{picture} has {size} bytes; that is more than {MOST}.")
