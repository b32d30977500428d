"""
What the relay promises, and the proof of each promise: real processes, real servers, real sockets, and things that go wrong.

C{python -m tests.chaos} runs the proofs and writes down what was found; L{tests.chaos.contract} has the list.
"""
