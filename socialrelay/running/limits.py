"""How many descriptors this process may open, and how many of them deliveries may take."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> int:
    """
    Raise the soft limit of open descriptors to the hard one.

    @return: the limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems report a hard limit that they do not grant
            return soft
    return hard


def in_flight_budget(wanted: int, descriptors: int) -> int:
    """Deliveries that may be in flight: what the operator wants, but at most half of the descriptors."""
    return wanted if descriptors == resource.RLIM_INFINITY else max(1, min(wanted, descriptors // 2))
