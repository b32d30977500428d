"""C{socialrelay run}: the twistd of the environment that the command is installed in, wherever PATH points."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(arguments: Sequence[str]) -> None:
    """
    Become C{twistd socialrelay}.

    @param arguments: options of twistd and of the relay, in any order: C{["--nodaemon", "--host", "relay.example"]}.
    @raise SystemExit: there is no such user or group.
    """
    from twisted.scripts.twistd import run as run_twistd

    sys.argv = command_line(arguments)
    try:
        run_twistd()
    except KeyError as error:
        if "name not found" not in str(error):
            raise
        # What pwd and grp say; twistd lets it through.
        raise SystemExit(f"socialrelay: --uid or --gid: {error.args[0].partition(': ')[2]}.") from None


def command_line(arguments: Sequence[str]) -> list[str]:
    """
    The same as twistd wants it: its own options first.

    No file with the process id is written unless one is named; twistd would leave it in the folder that it was started in.
    """
    from socialrelay.tap import Options

    names = {each.rstrip("=") for each in Options().longOpt}
    ours: list[str] = []
    twistds: list[str] = []
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, equals, _ = option.removeprefix("--").partition("=")
        if option in ("socialrelay", "--"):
            ours += rest
            break
        if option.startswith("--") and name in names:
            ours.append(option)
            if not equals and rest and name not in ("help", "version"):
                ours.append(rest.pop(0))
        else:
            twistds.append(option)
    if not any(option.startswith("--pidfile") for option in twistds):
        twistds.insert(0, "--pidfile=")
    return ["twistd", *twistds, "socialrelay", *ours]
