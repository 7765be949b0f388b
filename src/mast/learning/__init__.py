"""Learning: targets, losses, replay, and the one jitted step that changes a network."""
