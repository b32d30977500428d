"""The names, ports and keys that the nodes of a test share."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import trustme
from attrs import Factory, define
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.envelopes import Author
from tests.nodes.node import Node
from tests.tlsnode import authority


@define(eq=False)
class World:
    """
    A small internet on loopback.

    The relay is told at its start which name is at which port, so names and ports are set aside before there are any nodes: a host
    without a running node refuses connections.

    @ivar people: everybody's authors by handle, dead or alive.
    @ivar strangers: keys of other authors, by handle.
    @ivar nodes: those of now.
    """

    reactor: Any
    folder: Path
    people: dict[str, Author] = Factory(dict)
    strangers: dict[str, RSAPublicKey] = Factory(dict)
    nodes: list[Node] = Factory(list)
    authority: trustme.CA = Factory(authority)
    _ports: dict[str, socket.socket] = Factory(dict)
    _free: list[str] = Factory(list)

    def reserve(self, *hosts: str) -> World:
        """Set these names aside, each with a port that nobody else can get."""
        for host in hosts:
            # Bound and not listening: connections are refused, and a server that may reuse the address can listen there later.
            held = socket.socket()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            self._ports[host] = held
            self._free.append(host)
        return self

    def node(self, host: str = "", **attributes: Any) -> Node:
        """A node at this name, or at one that is free. It does not listen yet."""
        host = host or self._free[0]
        self._free.remove(host)
        node = Node(self, host, self._ports[host].getsockname()[1], **attributes)
        self.nodes.append(node)
        return node

    def key_of(self, handle: str) -> RSAPublicKey | None:
        """Everybody in this world knows everybody's key."""
        return self.people[handle].public_key if handle in self.people else self.strangers.get(handle)

    def network(self) -> str:
        """The table C{[network]} of a relay in this world."""
        ca_file = self.folder / "ca.pem"
        ca_file.write_bytes(self.authority.cert_pem.bytes())
        connect_to = (f"{json.dumps(f'{host}:443')} = {json.dumps(f'127.0.0.1:{at.getsockname()[1]}')}" for host, at in self._ports.items())
        return "\n".join(
            (
                "[network]",
                f"ca_file = {json.dumps(str(ca_file))}",
                'allow_addresses = ["127.0.0.0/8"]',
                "[network.connect_to]",
                *connect_to,
                "",
            )
        )

    async def stop(self) -> list[str]:
        """
        Stop the nodes that there are.

        @return: what they had to complain about.
        """
        nodes, self.nodes = self.nodes, []
        for node in nodes:
            await node.stop()
        return [f"{node.host}: {fault}" for node in nodes for fault in node.faults]

    def close(self) -> None:
        """Give the ports back."""
        for held in self._ports.values():
            held.close()
