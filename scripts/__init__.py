"""The chartloop command, and the benchmark scripts."""
