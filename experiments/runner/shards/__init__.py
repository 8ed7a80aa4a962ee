"""A config computed in shards, by machines that may fail, and merged into one run: docs/run/clusters.md."""
