"""Faults against a running ``chartloop serve``: what is noticed, how soon, and what is lost. Nothing may be.

Read in this order: ``servers`` starts what is harmed, ``watching`` asks all the while and compares each answer with
the known one, ``processes``, ``clients``, ``storage`` and ``versions`` do the harm, ``__main__`` records the results.
"""
