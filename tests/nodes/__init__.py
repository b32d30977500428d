"""
Small nodes on loopback, over TLS, strict where real ones are: the other side of the relay in end-to-end tests and in the demonstration.

A L{World} has their names, their ports and the authority that vouches for them; a L{Node} takes posts, shows who its authors are and what
it wants, and misbehaves as its L{conduct} says.
"""

from tests.nodes.node import Node, Taken
from tests.nodes.world import World

__all__ = ["Node", "Taken", "World"]
