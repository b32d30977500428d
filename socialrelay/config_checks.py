"""What a configuration must hold to besides the types of its values."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import attrs

from socialrelay.bus.addresses import is_loopback
from socialrelay.config import MIB, Config, Memory
from socialrelay.routing.hosts import node_host
from socialrelay.words import shown_url

Fault = tuple[str, str]

_CENTURY = 36500
"""Days; what is longer leads to times that there are not."""

_RANGES: dict[str, tuple[float, float]] = {
    "stop_timeout": (1, 3600),
    "admin.session": (60, 30 * 86400),
    "dashboard.streams": (0, 1000),
    "dashboard.streams_per_address": (0, 1000),
    "moderation.interval": (60, 365 * 86400),
    "postgres.connections": (1, 100),
    "receive.max_body": (1024, 64 * 1024 * 1024),
    "receive.deadline": (1, 600),
    "receive.connections": (1, 100_000),
    "receive.connections_per_address": (1, 100_000),
    "receive.waiting_rows_per_host": (1, 1_000_000),
    "receive.waiting_rows_per_address": (1, 1_000_000),
    "receive.commit_queue": (1, 100_000),
    "receive.waiting_rows": (1, 10_000_000),
    "delivery.window": (1, 5),
    "delivery.catch_up_share": (0.01, 1),
    "delivery.origin_spread": (0, 3600),
    "delivery.in_flight": (1, 100_000),
    "delivery.probes": (1, 10_000),
    "delivery.connect_timeout": (0.1, 60),
    "delivery.timeout": (0.1, 300),
    "delivery.queue_lifetime": (60, 30 * 86400),
    "retention.bodies": (1 / 24, 365),
    "retention.posts": (1 / 24, _CENTURY),
    "retention.identities": (0, _CENTURY),
    "retention.rejections": (0, _CENTURY),
    "retention.keys": (0, _CENTURY),
    "retention.statistics": (0, _CENTURY),
    "discovery.concurrency": (1, 1000),
    "discovery.timeout": (0.1, 120),
    "discovery.keys_in_memory": (1, 10_000_000),
    "discovery.key_lifetime": (0, _CENTURY * 86400),
    "dns.threads": (1, 200),
    "dns.suspect_threads": (1, 200),
    "dns.timeout": (0.1, 60),
    "polling.list_interval": (60, 365 * 86400),
    "polling.interval": (60, 365 * 86400),
    "polling.candidate_interval": (60, 365 * 86400),
    "polling.concurrency": (1, 1000),
    "polling.timeout": (0.1, 120),
    "polling.grace": (0, _CENTURY * 86400),
    "bus.high_water_mark": (1000, 10_000_000),
    "bus.linger": (0, 60),
    "bus.max_message": (1024, 4 * 1024 * 1024),
    "bus.unacknowledged": (1, 1_000_000),
    "bus.waiting_readers": (0, 10_000),
    "bus.heartbeat": (1, 3600),
    "bus.announcements": (100, 1_000_000),
    "bus.remembered": (1000, 10_000_000),
    "bus.keep_days": (1 / 24, _CENTURY),
}
_RANGES |= {f"memory.{each.name}": (1, 10_000_000) for each in attrs.fields(Memory)}
_RANGES["memory.cache_bytes"] = (64 * 1024, 4 * 1024 * MIB)
"""Least and greatest; any other number is 0 or more."""

_CHOICES = {
    "log_format": ("text", "json"),
    "log_level": ("debug", "info", "warn", "error"),
    "delivery.catch_up_order": ("oldest", "newest"),
}


def check(config: Config) -> Iterator[Fault]:
    """Each fault: the key, and what is wrong with it and what would be right."""
    yield from _numbers(config)
    for key, choices in _CHOICES.items():
        value = attrgetter(key)(config)
        if value not in choices:
            yield key, f"must be one of {', '.join(choices)}, not {value!r}"
    yield from _names(config)
    yield from _addresses(config)
    yield from _bus(config)
    yield from _together(config)


def _numbers(table: Any, path: str = "") -> Iterator[Fault]:
    for field in attrs.fields(type(table)):
        value, key = getattr(table, field.name), path + field.name
        if attrs.has(type(value)):
            yield from _numbers(value, key + ".")
        elif type(value) in (int, float):
            least, most = _RANGES.get(key, (0, math.inf))
            if not least <= value <= most:
                yield key, f"must be {_between(least, most)}, not {value:g}"


def _between(least: float, most: float) -> str:
    return f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:.10g}"


def _names(config: Config) -> Iterator[Fault]:
    if config.host:
        try:
            if node_host(config.host) != config.host:
                yield "host", f"must be written as it stands in addresses: {node_host(config.host)}"
        except ValueError as error:
            yield "host", f"must be the relay's public host name, such as relay.example.org, not {config.host!r}: {error}"
    if not re.fullmatch(r"[a-z0-9_]+([.-]+[a-z0-9_]+)*", config.identity.username) or len(config.identity.username) > 64:
        yield "identity.username", f"must be lower-case letters, digits, '_', and inside '-' and '.', not {config.identity.username!r}"
    if not config.listen:
        yield "listen", "must name at least one endpoint, such as tcp:8080:interface=127.0.0.1"
    for key in ("listen", "admin_listen"):
        for index, description in enumerate(getattr(config, key)):
            if not re.match(r"[a-z][a-z0-9]*:", description):
                yield f"{key}[{index}]", f"must be an endpoint such as tcp:8080:interface=127.0.0.1, not {description!r}"
    if config.redis.url not in ("", "off") and not re.match(r"(rediss?|unix)://.", config.redis.url):
        yield "redis.url", "must be redis://…, rediss://…, unix://…, off, or empty for the embedded server"
    if config.admin.user_header and not re.fullmatch(r"[A-Za-z0-9-]+", config.admin.user_header):
        yield "admin.user_header", f"must be the name of a header, such as X-Remote-User, not {config.admin.user_header!r}"
    if config.admin.password and not config.admin.password.startswith("$argon2id$"):
        yield "admin.password", "must be what `socialrelay password` prints, not the password itself"
    if config.operator.source and not re.fullmatch(r"https?://[!-~]+", config.operator.source):
        yield "operator.source", f"must be the address of a web page, https://…, not {config.operator.source!r}"
    yield from _rule_lists(config)
    for source in config.polling.lists or ():
        if not source.url.startswith(("https://", "/")):
            wrong = shown_url(source.url)
            yield "polling.lists", f"{source.name}: url must begin with https://, or be the absolute path of a file, not {wrong!r}"


def _rule_lists(config: Config) -> Iterator[Fault]:
    names = [each.name for each in config.moderation.lists]
    for each in config.moderation.lists:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", each.name) or names.count(each.name) > 1:
            yield (
                "moderation.lists",
                f"name must be letters, digits, '.', '_', '-', lower case, each list's its own, not {each.name!r}",
            )
        if not each.url.startswith(("https://", "/")):
            wrong = shown_url(each.url)
            yield "moderation.lists", f"{each.name}: url must begin with https://, or be the absolute path of a file, not {wrong!r}"
        if each.action not in ("block", "limit"):
            yield "moderation.lists", f"{each.name}: action must be block or limit, not {each.action!r}"


def _addresses(config: Config) -> Iterator[Fault]:
    for key, networks in (
        ("receive.trusted_proxies", config.receive.trusted_proxies),
        ("network.allow_addresses", config.network.allow_addresses),
    ):
        for index, network in enumerate(networks):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield f"{key}[{index}]", f"must be an address or a network such as 10.0.0.0/8: {error}"
    for name, target in config.network.connect_to.items():
        if not re.fullmatch(r"(\*\.)?[^:*\s]+:\d{1,5}", name):
            yield "network.connect_to", f'"{name}" must be host:port or *.host:port'
        if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\s]+):\d{1,5}", target):
            yield "network.connect_to", f'"{target}" must be address:port'
    for port in config.discovery.ports:
        if not 0 < port < 65536:
            yield "discovery.ports", f"must be ports from 1 to 65535, not {port}"


def _bus(config: Config) -> Iterator[Fault]:
    bus = config.bus
    if not (bus.enabled or config.federation.enabled):
        yield "federation.enabled", "must be true, or bus.enabled must: else there is nothing to do"
    if bus.queue_bytes < 4 * bus.max_message:
        yield "bus.queue_bytes", f"must be at least 4 times bus.max_message, which is {bus.max_message}"
    for key, pattern, example in (
        ("topic_prefix", r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", "org.example"),
        ("environment", r"[A-Za-z0-9_-]+", "prod"),
    ):
        if not re.fullmatch(pattern, getattr(bus, key)) or len(getattr(bus, key)) > 100:
            yield f"bus.{key}", f"must be a part of a topic, such as {example}, not {getattr(bus, key)!r}"
    seen: set[str] = set()
    for key in ("relay_inbound", "relay_outbound", "relay_ingest"):
        if not getattr(bus, key):
            yield f"bus.{key}", "must name at least one address"
        for index, address in enumerate(getattr(bus, key)):
            try:
                loopback = is_loopback(address)
            except ValueError as error:
                yield f"bus.{key}[{index}]", str(error)
                continue
            if address in seen:
                yield f"bus.{key}[{index}]", f"must be an address of its own: {address} is named before"
            seen.add(address)
            if key == "relay_ingest" and not loopback:
                why = "nothing is encrypted there and nobody is asked who they are; from elsewhere messages come by HTTPS (bus.tokens)"
                yield f"bus.{key}[{index}]", f"must be on this machine, such as tcp://127.0.0.1:2004 or ipc:///path, not {address}: {why}"
    names = [each.name for each in bus.tokens]
    for token in bus.tokens:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", token.name) or names.count(token.name) > 1:
            yield "bus.tokens", f"name must be letters, digits, '.', '_', '-', each token's its own, not {token.name!r}"
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,256}", token.token):
            yield "bus.tokens", f"{token.name}: token must have 16 to 256 characters: letters, digits, and . _ ~ + / = -"


def _together(config: Config) -> Iterator[Fault]:
    """What is right by itself and makes no sense with the rest."""
    delivery, receive = config.delivery, config.receive
    if delivery.probes >= delivery.in_flight:
        yield (
            "delivery.probes",
            f"must be less than delivery.in_flight, which is {delivery.in_flight}: deferred hosts would crowd out the others",
        )
    if delivery.bodies_in_flight < receive.max_body:
        yield "delivery.bodies_in_flight", f"must not be less than receive.max_body, which is {receive.max_body}"
    if delivery.connect_timeout > delivery.timeout:
        yield (
            "delivery.connect_timeout",
            f"must not be longer than delivery.timeout, which is {delivery.timeout:g}: connecting is part of the whole",
        )
    if delivery.queue_lifetime > config.retention.bodies * 86400:
        yield (
            "delivery.queue_lifetime",
            f"must not be longer than the {config.retention.bodies:g} days for which retention.bodies keeps posts",
        )
    if config.retention.posts < config.retention.bodies:
        yield (
            "retention.posts",
            f"must not be less than the {config.retention.bodies:g} days of retention.bodies: else what is lost could not be counted",
        )
    if receive.bytes_in_hand < 4 * receive.max_body:
        yield (
            "receive.bytes_in_hand",
            f"must be at least 4 times receive.max_body, which is {receive.max_body}: else the largest post never fits",
        )
    for key in ("waiting_bytes_per_host", "waiting_bytes_per_address", "waiting_bytes"):
        if getattr(receive, key) < receive.max_body:
            yield f"receive.{key}", f"must be at least receive.max_body, which is {receive.max_body}: else the largest post never fits"
