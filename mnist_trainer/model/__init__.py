"""From a list of layers to an `nn.Sequential` on a device, and what it needs of the machine."""
