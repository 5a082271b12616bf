"""The CPU fallback: the same forward in a standby process, for when Triton does not answer."""
