"""Seeing inside a run: values against truth, dead neurons, masks over time, and their pictures."""
