"""
Stock fedmsg as others have it installed, in an environment of its own, at both ends of the relay's bus.

C{python -m tests.fedmsg} runs it.  It is no part of the unit tests: fedmsg's packages are pinned, old, and nothing that the relay shares.
"""
