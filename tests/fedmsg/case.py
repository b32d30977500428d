"""What the tests have in common: a relay, a C{fedmsg-tail} and a listener that stay for a whole class, and a publisher."""

from __future__ import annotations

from typing import ClassVar
from unittest import TestCase
from uuid import uuid4

from tests.bus_wire import Listener, Publisher, free_address, met, until
from tests.fedmsg.relays import Relay
from tests.fedmsg.signing import signing
from tests.fedmsg.stock import Stock, Tail, topic


class BusCase(TestCase):
    """
    @ivar stock: fedmsg, which knows the relay's addresses.
    @ivar signed: the same, with what signs messages.
    @ivar tail: has heard everything, and is alive at the end.
    @ivar strict: has heard what is signed as it should be.
    @ivar listener: has heard everything, byte for byte.
    @ivar publisher: is heard by all of them.
    """

    stock: ClassVar[Stock]
    signed: ClassVar[Stock]
    relay: ClassVar[Relay]
    tail: ClassVar[Tail]
    strict: ClassVar[Tail]
    listener: ClassVar[Listener]
    publisher: ClassVar[Publisher]

    @classmethod
    def bring(cls, stock: Stock) -> Relay:
        """The relay, not started."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        cls.stock = stock = Stock(free_address(), free_address())
        cls.addClassCleanup(stock.close)
        cls.signed = Stock(stock.inbound, stock.outbound, **signing(stock.folder / "keys"))
        cls.addClassCleanup(cls.signed.close)
        cls.relay = cls.bring(stock)
        cls.addClassCleanup(cls.relay.close)
        cls.relay.start()
        cls.tail, cls.strict = stock.tail("--no-validate"), cls.signed.tail("--validate")
        cls.listener = Listener(stock.outbound)
        cls.addClassCleanup(cls.listener.close)
        try:
            cls.publisher = Publisher(stock.inbound)
            cls.addClassCleanup(cls.publisher.close)
            met(cls.publisher, [lambda: cls.tail.topics, cls._hears], topic("test.probe"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cls.relay.log[-3000:]}") from None
        until(cls._signed, lambda _: cls.strict.messages)

    @classmethod
    def _hears(cls) -> list[str]:
        return [message["topic"] for message in cls.listener.messages()]

    @classmethod
    def _signed(cls) -> None:
        cls.signed.run("fedmsg-logger", "--modname=test", "--topic=signed", said="One\n")

    def tearDown(self) -> None:
        self.assertTrue(self.tail.alive, self.tail.log.read_text()[-2000:])
        self.assertTrue(self.strict.alive, self.strict.log.read_text()[-2000:])

    def new_topic(self) -> str:
        """One that nobody has used: its module and event."""
        return f"git.t{uuid4().hex}"
