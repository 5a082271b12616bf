"""Simulated coders and supervisors: the loop can be tried, and measured, before anybody uses it."""
