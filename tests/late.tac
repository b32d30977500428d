"""What twistd runs to show how a start that fails late, or a stop, looks from the terminal; how, says the environment."""

from __future__ import annotations

import os

from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater

from socialrelay.boundaries import Unavailable
from socialrelay.running.daemon import Daemon, Terminal, leave_waiting
from socialrelay.running.notify import Notifier, Supervision
from socialrelay.services import Sequence


class Part(Service):
    """Starts, or does not, as it is told."""

    def startService(self) -> Deferred[None] | None:
        match os.environ["START"]:
            case "fails at once":
                return fail(Unavailable("The database db.example does not answer.\nStart it."))
            case "fails later":
                return deferLater(reactor, 0, self.fail)
            case "dies":
                return deferLater(reactor, 0, os._exit, 3)
        return None

    def stopService(self) -> None:
        with open(os.environ["NOTES"], "a") as notes:
            notes.write("stopped\n")

    def fail(self) -> None:
        raise Unavailable("The database db.example does not answer. Start it.")


terminal = Terminal() if os.environ["FOREGROUND"] else leave_waiting(reactor)
relay = Sequence([("database", Part())], reactor, 5.0)
application = Application("late")
notifier = Notifier(Supervision(), reactor)
Daemon(relay, reactor, terminal, lambda: [("ready", {})], lambda: None, notifier, lambda: succeed(""), 5.0).setServiceParent(application)
