"""Learning algorithms: one file each, found by name (`registry`)."""
