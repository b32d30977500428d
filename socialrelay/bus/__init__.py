"""
The message bus: a fixed point for scripts that come and go, and for those who listen to them.

Wire-compatible with fedmsg-relay (fedora-infra/fedmsg): two frames, topic and JSON.  This package imports neither Twisted nor ZeroMQ by
itself: L{socialrelay.bus.client} is for scripts that have no reactor.
"""
