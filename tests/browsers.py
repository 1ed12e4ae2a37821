"""The headless Chromium of the tests that open pages, and the reason where there is none."""

import contextlib
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, TELEPHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}


@contextlib.contextmanager
def launched():
    """A running browser; skips the test where none is installed."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM HERE, SO NO PAGE WAS OPENED IN A BROWSER: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
