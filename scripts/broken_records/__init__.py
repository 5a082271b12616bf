"""Sound records broken on purpose, by kind: what the edits have to find, in tests and in the benchmark."""
