"""How the relay reaches other servers: names, addresses, trust, documents."""
