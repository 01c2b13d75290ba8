"""Simulate drawings and photographs of digits, from MNIST's images, for training and evaluation. Does not import torch.

All functions are pure functions of their arguments and of the random numbers that they draw from `rng`.
"""
