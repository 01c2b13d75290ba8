"""What is written to disk: run folders and checkpoints, through one door."""
