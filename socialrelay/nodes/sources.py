"""
The node lists that a relay reads when its configuration names none.

None of them is guaranteed to be alive; a relay works without any.
"""

from __future__ import annotations

from socialrelay.config import NodeList

_THE_FEDERATION = """{
  thefederation_node(where: {blocked: {_eq: false}, thefederation_platform: {name: {_in: ["diaspora", "friendica", "hubzilla"]}}}) {
    host
    thefederation_platform { name }
  }
}"""


def _observer(software: str) -> NodeList:
    query = f'{{ nodes(softwarename: "{software}") {{ domain }} }}'
    return NodeList(f"fediverse.observer/{software}", "https://api.fediverse.observer/", query)


DEFAULT_LISTS = (
    NodeList("the-federation.info", "https://the-federation.info/v1/graphql", _THE_FEDERATION),
    NodeList("the-federation.info/pods.json", "https://the-federation.info/pods.json"),
    _observer("diaspora"),
    _observer("friendica"),
    _observer("hubzilla"),
    NodeList("diasp.org", "https://diasp.org/pods.json"),
)
