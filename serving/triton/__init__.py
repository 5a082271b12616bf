"""A version published to a running Triton, and the client that asks it (stage 6)."""
