"""Takes over what an old relay kept: Social-Relay 1.5 or 1.6 (C{docs/moving.md})."""
