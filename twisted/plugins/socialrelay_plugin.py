"""Makes C{twistd socialrelay}. There must be no C{__init__.py} beside it, nor above: it would hide Twisted."""

from twisted.application.service import ServiceMaker

socialrelay = ServiceMaker(
    "socialrelay",
    "socialrelay.tap",
    "A relay for the federated social web: public posts in, each to the servers that asked for it.",
    "socialrelay",
)
