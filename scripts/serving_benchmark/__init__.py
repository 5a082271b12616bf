"""Parts of scripts/benchmark_serving.py and scripts/benchmark_soak.py: notes, peers, load, and what is made of it."""
