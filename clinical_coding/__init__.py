"""The vocabulary of clinical coding: codes, records, artefacts, readers and metrics.

Pure Python data: no torch, no web, no database. Every other package imports from here.
"""
