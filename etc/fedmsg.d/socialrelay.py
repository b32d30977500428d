# Where the bus is, for scripts and for stock fedmsg: copy this to /etc/fedmsg.d/ and make it readable by all.
#
# `socialrelay emit`, `socialrelay tail` and socialrelay.bus.client read the literals in it, and never run it.
config = {
    # As in [bus] of socialrelay.toml.
    "topic_prefix": "com.example",
    "environment": "dev",
    # Where scripts publish and get no answer, as with fedmsg-relay: fedmsg-logger, fedmsg.publish(active=True, name="relay_inbound").
    "relay_inbound": ["tcp://127.0.0.1:2003"],
    # Where they get one; fedmsg does not know of it.
    "relay_ingest": ["tcp://127.0.0.1:2004"],
    "endpoints": {
        # Where listeners connect: fedmsg-tail, hubs.
        "relay_outbound": ["tcp://127.0.0.1:4001"],
    },
    # For stock fedmsg.  The four of keep-alive belong together.
    "zmq_enabled": True,
    "zmq_strict": False,
    "io_threads": 1,
    "high_water_mark": 0,
    "zmq_linger": 1000,
    "post_init_sleep": 0.5,
    "zmq_tcp_keepalive": 1,
    "zmq_tcp_keepalive_cnt": 3,
    "zmq_tcp_keepalive_idle": 60,
    "zmq_tcp_keepalive_intvl": 5,
    "sign_messages": False,
    "validate_signatures": False,
}
