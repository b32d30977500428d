"""The new relay's configuration, as far as the old one's says it."""

from __future__ import annotations

import json

from socialrelay.takeover.old_config import FEDERATION_LIST, OldConfig


def new_configuration(old: OldConfig) -> str:
    """
    The C{socialrelay.toml} that corresponds.

    The old relay's public key was everyone's, and nobody has the private one: nodes that know the old handle would encrypt to that key for
    ever.  So the new relay gets another name.
    """
    host = old.host or "relay.example"
    lines = [
        "# What an old relay's local_config.py comes to. Every option is explained in etc/socialrelay.toml.",
        f"host = {_text(host)}" + ("" if old.host else "  # SERVER_HOST was not set: write your relay's name here"),
        'listen = ["tcp:8080:interface=127.0.0.1"]',
        "",
        "[operator]",
        f"name = {_text(old.text('RELAY_NAME'))}",
        'contact = ""  # a mail address or a web page: please set it',
        'source = ""  # where the source code of your relay is: please set it',
        "",
        "[identity]",
        f"# Not {_text(old.username)}: nodes that know {old.username}@{host} hold its old key for good, and the new relay has another.",
        f"username = {_text(old.username + '2')}",
        "",
        "[receive]",
        'trusted_proxies = ["127.0.0.1"]',
    ]
    listed = old.text("POD_LIST_JSON")
    if listed and listed != FEDERATION_LIST:
        lines += ["", "[polling]"]
        if not listed.startswith("https://"):
            lines.append("# Lists are read over https alone, and the old relay's was not: please set its address.")
        lines.append(("" if listed.startswith("https://") else "# ") + f"lists = [{{ name = {_text('pods')}, url = {_text(listed)} }}]")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """TOML's basic strings are written as JSON's. What could steer a terminal is written as a number."""
    written = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in written)
