"""
The relay's pages in a real browser: C{python -m tests.browser}, or C{make check-browser}.

Chromium, driven by Playwright, looks at two relays that run as their operators run them: one with ten thousand nodes and a month behind it,
one that was started a moment ago.  No module here begins with C{test_}: trial leaves them alone, because they want a browser.
"""
