"""Training: collecting, the loop, evaluation, checkpoints, and what a user sees of them."""
