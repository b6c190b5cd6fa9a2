"""The harness: from per-episode records to tables with intervals."""
