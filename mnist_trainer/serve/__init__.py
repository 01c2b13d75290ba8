"""The page and its HTTP interface: read pictures, watch runs, start trainings (extra `[serve]`)."""
