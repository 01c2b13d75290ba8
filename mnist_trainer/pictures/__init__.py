"""Read any picture: find the glyphs on it and render them as 28×28 images like MNIST's. Does not import torch."""
