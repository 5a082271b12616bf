"""A registered version answers coding clients (stages 6 and 7)."""
