"""Checks of how the relay is seen by others, and whether it reaches them."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable, Iterator
from statistics import median
from urllib.parse import quote, urlsplit

from attrs import frozen

from socialrelay.config import Config
from socialrelay.diaspora.preferences import RECEIVE_PATH
from socialrelay.doctor.findings import Finding, Level, each, failure, ok, warning
from socialrelay.doctor.wire import Answer, Wire, is_public, why
from socialrelay.nodes.sources import DEFAULT_LISTS

EXPIRES_SOON = 14 * 86400.0
CLOCK_WARNING = 30.0
CLOCK_FAILURE = 600.0
_STEP = 4.0
_ENVELOPE = "application/magic-envelope+xml"
_CHAIN = (20, 21)
_NOT_ASKED = "There is no public name, so this was not looked at."
_PROXY = "See docs/install.md for the proxy's part."


@frozen
class Known:
    """
    What is known here of who the relay is.

    @ivar guid: of the running daemon; empty if that is not known.
    @ivar key_pem: its public key, PEM; likewise.
    """

    guid: str = ""
    key_pem: str = ""


def name(config: Config, wire: Wire) -> Iterator[Finding]:
    """DNS."""
    check = "name"
    if not config.host:
        yield ok(check, _NOT_ASKED)
        return
    if wire.overridden(config.host):
        yield ok(check, f"network.connect_to says where {config.host} is.")
        return
    try:
        addresses = [address for address, _ in wire.addresses(config.host)]
    except OSError as error:
        yield failure(check, f"{config.host}: {why(error)}.", "Make an A record for it, and an AAAA record if the machine has IPv6.")
        return
    inside = [address for address in addresses if not is_public(address)]
    if inside:
        yield warning(
            check,
            f"{config.host} is {', '.join(addresses)} here; others cannot connect to {', '.join(inside)}.",
            "If your own network answers otherwise than the internet, all may be well: look from outside.",
        )
    else:
        yield ok(check, f"{config.host} is {', '.join(addresses)}.")


def certificate(config: Config, wire: Wire) -> Iterator[Finding]:
    """TLS of the relay's own name, at each of its addresses."""
    if not config.host:
        yield ok("certificate", _NOT_ASKED)
        return
    try:
        addresses = wire.addresses(config.host)[:6]
    except OSError:
        return  # told of the name
    for address, found in zip(addresses, each(addresses, lambda address: _certificate(config.host, wire, address), _STEP), strict=True):
        if found is None:
            yield failure("certificate", f"{_at(config.host, address)} does not finish TLS in time.", "Look at the proxy and its log.")
        else:
            yield found


def _certificate(host: str, wire: Wire, address: tuple[str, int]) -> Finding:
    check, where = "certificate", _at(host, address)
    try:
        with wire.tls(host, address) as connection:
            shown = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        advice = "Give the proxy the full chain, not the certificate alone." if error.verify_code in _CHAIN else "Get a new certificate."
        return failure(check, f"{where}: {why(error)}. No node will deliver to it.", advice)
    except ssl.SSLError as error:
        return failure(check, f"{where}: {why(error)}.", "Look at the proxy's TLS settings, and at its log.")
    except OSError as error:
        advice = "Is the proxy running, port 443 open, and forwarded? If only this machine cannot reach its own address, look from outside."
        return (warning if ":" in address[0] else failure)(check, f"{where}: {why(error)}.", advice)
    left = ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()
    said = f"{where} shows a valid certificate, for {left / 86400:.0f} days more."
    if left < EXPIRES_SOON:
        return warning(check, said, "See to it that it is renewed, and that the proxy takes the new one up.")
    return ok(check, said)


def _at(host: str, address: tuple[str, int]) -> str:
    return f"{host} at {address[0]}"


def front_page(config: Config, wire: Wire) -> Iterator[Finding]:
    """C{/} must answer 2xx: diaspora* takes a server that does not for offline."""
    yield from _asked(config, wire, "front page", "/", _is_well)


def _is_well(answer: Answer) -> Finding:
    if 200 <= answer.status < 300:
        return ok("front page", "It answers.")
    advice = f"diaspora* takes a server that does not answer 2xx there for offline. {_PROXY}"
    return failure("front page", f"https://…/ answers {_status(answer)}.", advice)


def identity(config: Config, wire: Wire, known: Known) -> Iterator[Finding]:
    """Webfinger and hCard must be this relay's."""
    check = "identity"
    handle = f"{config.identity.username}@{config.host}"
    path = f"/.well-known/webfinger?resource={quote(f'acct:{handle}', safe='')}"
    guids: list[str] = []

    def webfinger(answer: Answer) -> Finding:
        found = re.search(rb"/hcard/users/([0-9A-Za-z_-]{16,255})", answer.body)
        if answer.status != 200 or found is None:
            return failure(check, f"Nodes that look for {handle} get {_status(answer)}.", f"Pass /.well-known/ to the relay. {_PROXY}")
        guids.append(found[1].decode())
        return ok(check, f"{handle} is found.")

    yield from _asked(config, wire, check, path, webfinger)
    for guid in guids:
        if known.guid and guid != known.guid:
            yield failure(
                check, f"https://{config.host}/ is another relay: its guid is {guid}, not {known.guid}.", "Look where the proxy points."
            )
        else:
            yield from _asked(config, wire, check, f"/hcard/users/{guid}", lambda answer: _hcard(answer, known))


def _hcard(answer: Answer, known: Known) -> Finding:
    check = "identity"
    if answer.status != 200:
        return failure(check, f"Its hCard is answered with {_status(answer)}.", f"Pass /hcard/ to the relay. {_PROXY}")
    if known.key_pem and _letters(known.key_pem) not in _letters(answer.body.decode("utf-8", "replace")):
        return failure(check, "The hCard shows another key than that of this relay.", "Look where the proxy points.")
    return ok(check, "The hCard shows this relay's key." if known.key_pem else "The hCard is there.")


def _letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


def nodeinfo(config: Config, wire: Wire) -> Iterator[Finding]:
    """What kind of server it is, for node lists."""

    def judged(answer: Answer) -> Finding:
        if answer.status == 200 and b"nodeinfo" in answer.body:
            return ok("nodeinfo", "It is there.")
        return warning("nodeinfo", f"/.well-known/nodeinfo answers {_status(answer)}.", f"Pass /.well-known/ to the relay. {_PROXY}")

    yield from _asked(config, wire, "nodeinfo", "/.well-known/nodeinfo", judged)


def receiving(config: Config, wire: Wire) -> Iterator[Finding]:
    """A body that is no post must come to the relay, which says so; and one as large as a post may be."""
    large = b"x" * min(config.receive.max_body, 1024 * 1024)
    for body, what in ((b"x", "A post"), (large, f"A post of {len(large) // 1024} KiB")):
        yield from _asked(config, wire, "receiving", RECEIVE_PATH, lambda answer, what=what: _received(answer, what), "POST", body)  # type: ignore[misc]


def _received(answer: Answer, what: str) -> Finding:
    check = "receiving"
    if answer.status == 400:
        return ok(check, f"{what} comes to the relay.")
    if answer.status == 503:
        return warning(check, f"{what} is answered 503: the relay is not ready, or has no room.", "`socialrelay status` says why.")
    if answer.status == 413:
        return failure(check, f"{what} is answered {_status(answer)}.", "Let bodies of 1 MiB pass the proxy (client_max_body_size).")
    return failure(check, f"{what} is answered {_status(answer)}, before the relay sees it.", f"Pass {RECEIVE_PATH} to the relay. {_PROXY}")


def private(config: Config, wire: Wire) -> Iterator[Finding]:
    """The operators' site must not be where the public is."""

    def judged(answer: Answer, path: str) -> Finding:
        if answer.status == 404:
            return ok("operators' site", f"{path} is not there for the public.")
        return failure(
            "operators' site",
            f"{path} answers {_status(answer)} to everybody.",
            "Let the public site of the proxy pass nothing to admin_listen.",
        )

    for path in ("/admin/", "/metrics"):
        yield from _asked(config, wire, "operators' site", path, lambda answer, path=path: judged(answer, path))  # type: ignore[misc]


def outgoing(config: Config, wire: Wire) -> Iterator[Finding]:
    """Whether others are reached, and what time it is there."""
    lists = DEFAULT_LISTS if config.polling.lists is None else config.polling.lists
    hosts = list(dict.fromkeys(urlsplit(each.url).hostname or "" for each in lists if each.url.startswith("https://")))[:6]
    if not hosts:
        yield ok("outgoing https", "No node list is fetched, so nobody was asked.")
        return
    found = each(hosts, lambda host: _reached(wire, host), _STEP)
    reached = [host for host, each_found in zip(hosts, found, strict=True) if isinstance(each_found, Answer)]
    failed = [
        f"{host}: {'no answer in time' if each_found is None else each_found}"
        for host, each_found in zip(hosts, found, strict=True)
        if not isinstance(each_found, Answer)
    ]
    if not reached:
        yield failure(
            "outgoing https", f"None of the servers of node lists is reached: {'; '.join(failed)}.", "See to DNS and the firewall."
        )
    elif failed:
        yield ok("outgoing https", f"{', '.join(reached)} answer; not {'; '.join(failed)}.")
    else:
        yield ok("outgoing https", f"{', '.join(reached)} answer.")
    dates = [answer.date for answer in found if isinstance(answer, Answer)]
    yield from _clock([date - time.time() for date in dates if date is not None])


def _reached(wire: Wire, host: str) -> Answer | str:
    try:
        return wire.ask(host, "/", "HEAD")
    except (OSError, http.client.HTTPException) as error:
        return why(error)


def _clock(offsets: list[float]) -> Iterator[Finding]:
    if not offsets:
        return
    ahead = -median(offsets)
    said = f"This machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of others."
    advice = "Run a time service: timedatectl set-ntp true, or chrony."
    if abs(ahead) >= CLOCK_FAILURE:
        yield failure("clock", said, advice)
    elif abs(ahead) >= CLOCK_WARNING:
        yield warning("clock", said, advice)
    else:
        yield ok("clock", "It is right.")


def _asked(
    config: Config, wire: Wire, check: str, path: str, judged: Callable[[Answer], Finding], method: str = "GET", body: bytes | None = None
) -> Iterator[Finding]:
    """Ask the relay as others do."""
    if not config.host:
        yield ok(check, _NOT_ASKED)
        return
    try:
        yield judged(wire.ask(config.host, path, method, body, _ENVELOPE if body else ""))
    except (OSError, http.client.HTTPException) as error:
        text = f"https://{config.host}{path.partition('?')[0]} cannot be reached: {why(error)}."
        yield Finding(check, Level.FAILURE, text, "See what is said of name and certificate.", unreached=True)


def _status(answer: Answer) -> str:
    """The status, and where a redirect points."""
    where = answer.headers.get("location", "")
    return f"{answer.status}, which points to {where[:200]}" if where else str(answer.status)
