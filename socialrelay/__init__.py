"""A relay for the federated social web: public posts in, each to the nodes that asked for it."""

__version__ = "0.1.0"
