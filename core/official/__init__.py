"""The official model's files: reading a checkpoint without running it, finding what it lacks, fetching it."""
