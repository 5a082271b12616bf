"""From decisions to an adjudicated training set (stages 8 to 10)."""
