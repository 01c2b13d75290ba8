"""Build an `nn.Sequential` from a list of layers; choose device, precision and threads; estimate memory."""
