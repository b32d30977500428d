"""Where the system allows few open files, a relay has enough for each of its parts, and says what it cannot do with them."""

from __future__ import annotations

import os
import re
import socket

from tests.end_to_end import OwnRelay
from tests.envelopes import new_guid

DESCRIPTORS = 420
WITH_FEW = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))
sys.argv[0] = "socialrelay"
runpy.run_module("socialrelay", run_name="__main__")
"""


class DescriptorsTests(OwnRelay):
    async def prepare(self) -> None:
        self.relay.program = ("-c", WITH_FEW)
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.relay.listen = (f"tcp:{self.port}:interface=127.0.0.1",)

    def open_files(self) -> int:
        assert self.relay.process is not None
        return len(os.listdir(f"/proc/{self.relay.process.pid}/fd"))

    def silent_client(self, number: int) -> socket.socket:
        """A connection on which nothing is said; each from an address of its own."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.bind((f"127.0.1.{number % 250 + 1}", 0))
        client.connect(("127.0.0.1", self.port))
        client.setblocking(False)
        return client

    def ended(self, client: socket.socket) -> bool:
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    async def test_more_than_there_are(self) -> None:
        """
        Connections beyond those that there are descriptors for are ended, of those that say nothing, while posts are taken and delivered.
        """
        told = re.search(r"allows (\d+) open files: enough for (\d+) connections to nodes, in use and kept, and (\d+) to", self.relay.log)
        assert told is not None
        limit, deliveries, intake = map(int, told.groups())
        self.assertEqual(limit, DESCRIPTORS)
        node, home = self.node(), self.node()
        await self.subscribe(node)
        clients = [self.silent_client(number) for number in range(DESCRIPTORS)]

        async def ended() -> int:
            return sum(map(self.ended, clients))

        await self.relay.eventually(ended, lambda many: many >= DESCRIPTORS - intake)
        self.assertLess(self.open_files() + deliveries, limit)
        await self.relay.eventually(self.relay.ready, bool)
        guid = new_guid()
        await self.accepted(home.author("alice").post("There is room for this", guid=guid))
        await node.has(guid)
        self.assertNotIn("EMFILE", self.relay.log)
        self.assertNotIn("Too many open files", self.relay.log)
