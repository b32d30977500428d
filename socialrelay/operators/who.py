"""Who did something, as it stands in the log and beside what was decided."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

COMMAND = "command"
PROXY = "proxy"
LINK = "link"
LONGEST = 64
"""Characters of a user's name; a proxy's users may have any."""


def done_by(user: str, way: str = "", client: str = "") -> str:
    """
    C{ada (command)}, C{admin from 192.0.2.0/24}, C{ada (proxy) from this machine}.

    @param way: how the user is known: C{command}, C{proxy}, C{link}; empty for the password, which is everybody's.
    @param client: the address that the wish came from; empty if it came over the control socket.
    """
    name = "".join(character for character in user if character.isprintable()).strip()[:LONGEST] or "somebody"
    return f"{name}{f' ({way})' if way else ''}{f' from {shortened(client)}' if client else ''}"


def user_of(who: str) -> str:
    """The user of whom L{done_by} said this, for somebody who used the command."""
    return who.removesuffix(f" ({COMMAND})")


def shortened(client: str) -> str:
    """An address as it may be logged: the first 24 bits of IPv4, the first 48 of IPv6; whole if it is this machine's own."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return "this machine"  # a UNIX socket, whose peer has no address
    if address.is_loopback:
        return str(address)
    return str(ip_network((int(address), 24) if isinstance(address, IPv4Address) else (int(address), 48), strict=False))
