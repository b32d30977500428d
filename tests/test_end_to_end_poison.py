"""A post over which the relay breaks, or dies: nobody else notices for long."""

from __future__ import annotations

import signal

from twisted.internet.threads import deferToThread

from tests.end_to_end import OwnRelay, guids
from tests.envelopes import new_guid
from tests.poisoned import POISON


class PoisonTests(OwnRelay):
    async def test_kills_the_relay(self) -> None:
        """
        A post that was in hand when the relay ended three times is put into quarantine, where operators see it and drop it; those that were
        in hand with it, and those that come afterwards, are relayed.
        """
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice, poison = home.author("alice"), home.author(POISON)
        home.reluctant = True
        before, after = guids(5), guids(5)
        for body in (
            *(alice.post("Before", guid=guid) for guid in before),
            poison.post("Poison"),
            *(alice.post("After", guid=guid) for guid in after),
        ):
            await self.accepted(body)
        await self.relay.kill()
        home.reluctant = False
        self.relay.program = ("-m", "tests.poisoned")
        for _ in range(2):  # the third end, with those that were in hand when it was killed
            ended = await deferToThread(self.relay.launch().wait, 60)
            self.assertEqual(ended, -signal.SIGABRT)
        await self.relay.start()
        await node.has(*before, *after)
        seen = await self.relay.eventually(lambda: self.relay.view("quarantine"), lambda seen: seen["total"])
        [found] = seen["quarantine"]
        self.assertEqual((found["sender"], found["reason"]), (poison.handle, "judging it never came to an end"))
        guid = new_guid()
        await self.accepted(alice.post("And now", guid=guid))
        await node.has(guid)
        await self.relay.act("quarantine-drop", id=found["id"])
        self.assertEqual((await self.relay.view("quarantine"))["total"], 0)
