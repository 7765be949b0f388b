"""Seeing a trained team play: one offline page, or a film."""
