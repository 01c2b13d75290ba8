"""Load data sets: find, download and check files, split them, normalize and augment images, and yield batches."""
