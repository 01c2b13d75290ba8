"""From images to probabilities, and from probabilities to metrics and text."""
