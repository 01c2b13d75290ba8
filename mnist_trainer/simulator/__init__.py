"""Pictures as people make them, drawn from MNIST's digits: to train with, and to measure by kind. No torch.

Every function is a pure function of its arguments and of the random numbers that it draws from `rng`.
"""
