"""From the name of a data set to batches: files found, fetched and checked, split, kept in memory, normalised."""
