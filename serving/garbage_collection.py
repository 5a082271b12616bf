"""Garbage collection in processes that load much once and then answer requests."""

import gc

__all__ = ["freeze_loaded"]


def freeze_loaded() -> None:
    """Leave what is loaded by now out of garbage collection for good.

    Looking through a model's libraries takes half a second, and through the tables of code systems 70 ms, every
    hundred requests or so; whichever request comes then would wait.
    """
    gc.collect()
    gc.freeze()
