"""
C{make demo}: a relay, a handful of small nodes on loopback, and what goes where.

The relay is the real one; the nodes are those of L{tests.nodes}, in this process.
"""
