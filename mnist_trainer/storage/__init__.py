"""What a training keeps on disk: run folders and checkpoints."""
