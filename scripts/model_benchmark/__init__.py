"""The parts of ``benchmark_model``: what is measured, its peers, and how time is taken."""
