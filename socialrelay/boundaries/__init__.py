"""
Where the relay meets the world: protocols and the values that cross them, no logic.

Each is implemented twice at least: for real and in memory, and both are held to one contract test.  Methods return Deferreds; the memory
versions return ones that have fired.

No caller may cancel or time out a Deferred of a store: abandoning a query is safe, cancelling it is not (psycopg2's cancel blocks).
"""

from __future__ import annotations

from socialrelay.boundaries.accounts import Account, Accounts, Examined
from socialrelay.boundaries.bus import (
    Announce,
    Answer,
    BusMessage,
    BusPage,
    BusStore,
    Extent,
    Ingest,
    Kept,
    Replay,
    StoredMessage,
    TooOld,
    silence,
)
from socialrelay.boundaries.destinations import BouncedPost, DatedGap, Destinations, SinglePost
from socialrelay.boundaries.errors import FetchFailed, Full, HostFull, KeyUnavailable, Unavailable
from socialrelay.boundaries.incoming import Arrival, Incoming, Rejection, Rejections, Waiting
from socialrelay.boundaries.keys import HeldKey, Keyring, Profiles
from socialrelay.boundaries.log import LogEntry, PostLog, Publication, Target
from socialrelay.boundaries.nodes import Contacts, ManualSubscription, NodeRecord, Nodes, PollNote, Subscriptions
from socialrelay.boundaries.outside import Cache, Document, Fetcher, Transport
from socialrelay.boundaries.parts import (
    LIST_FAILED,
    Condition,
    DestinationStatus,
    Intake,
    Lists,
    Membership,
    Outcome,
    Overview,
    Poller,
    PollReport,
    Queue,
    SelfService,
    Stream,
    Streams,
    SubscriberCounts,
)
from socialrelay.boundaries.records import BoundIdentity, IdentityStore, Statistics
from socialrelay.boundaries.rules import BY_HAND, Changes, InForce, ListedRule, Rule, Rules, RuleSet

__all__ = [
    "BY_HAND",
    "LIST_FAILED",
    "Account",
    "Accounts",
    "Announce",
    "Answer",
    "Arrival",
    "BouncedPost",
    "BoundIdentity",
    "BusMessage",
    "BusPage",
    "BusStore",
    "Cache",
    "Changes",
    "Condition",
    "Contacts",
    "DatedGap",
    "DestinationStatus",
    "Destinations",
    "Document",
    "Examined",
    "Extent",
    "FetchFailed",
    "Fetcher",
    "Full",
    "HeldKey",
    "HostFull",
    "IdentityStore",
    "InForce",
    "Incoming",
    "Ingest",
    "Intake",
    "Kept",
    "KeyUnavailable",
    "Keyring",
    "ListedRule",
    "Lists",
    "LogEntry",
    "ManualSubscription",
    "Membership",
    "NodeRecord",
    "Nodes",
    "Outcome",
    "Overview",
    "PollNote",
    "PollReport",
    "Poller",
    "PostLog",
    "Profiles",
    "Publication",
    "Queue",
    "Rejection",
    "Rejections",
    "Replay",
    "Rule",
    "RuleSet",
    "Rules",
    "SelfService",
    "SinglePost",
    "Statistics",
    "StoredMessage",
    "Stream",
    "Streams",
    "SubscriberCounts",
    "Subscriptions",
    "Target",
    "TooOld",
    "Transport",
    "Unavailable",
    "Waiting",
    "silence",
]
