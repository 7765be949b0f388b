"""Size and FLOPs, from what networks are declared to be."""
