"""Fork, pulse, restart, signals; no Redis, no event loop."""
