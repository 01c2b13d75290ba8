"""Load data sets: find, download and check files, split them, normalise and augment images, and yield batches."""
