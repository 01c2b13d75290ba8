"""From any picture to 28×28 digits as MNIST has them: numpy, Pillow and OpenCV, no torch."""
