"""`python -m mnist_trainer train …` is `mnist-train …`, for where the commands are not on the PATH."""

from __future__ import annotations

from mnist_trainer.cli.start import main

if __name__ == "__main__":
    main()
