"""Sparsity: how many weights each layer has, which ones, and how that changes while training."""
