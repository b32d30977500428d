"""
What relay and clients say to one another at C{relay_ingest}: a ROUTER, which clients connect to with a DEALER or a REQ.

To publish takes three frames, C{[msg_id, topic, body]}, and is answered C{[msg_id, status, detail]}.  To ask for what is kept takes two,
C{[request_id, query]}; the query is a JSON object with C{since}, C{topic}, C{limit} and C{wait}.  An empty frame before these, which a REQ
puts there, comes back with the answer.
"""

from __future__ import annotations

OK, DUP = "ok", "dup"
"""It is kept, or was before: the detail is its number.  To a query: the detail is a page."""

BAD, DENIED = "bad", "denied"
"""It never will be: the detail is the reason."""

BUSY = "busy"
"""Come again: the detail is the reason."""

GONE = "gone"
"""To a query: messages after this number were forgotten: the detail is C{{"oldest_seq": number}}."""

MAX_PAGE = 1000
"""Messages of an answer, at most."""

MAX_WAIT = 30.0
"""Seconds that a query may wait for a message, at most."""
