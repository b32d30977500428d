"""All metrics of one relay, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector


def relay_registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """
    Register collectors, and what the system knows of the process: C{process_resident_memory_bytes} and the like.

    They are asked for nothing before somebody reads.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    return registry
