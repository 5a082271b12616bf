"""Versions: found by name, compared, approved (stage 11)."""
