"""From coded records to a registered version (stages 2 to 5)."""
