"""The runs in a folder, as a table and against each other."""
