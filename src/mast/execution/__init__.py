"""What a run's settings come to: its networks, their cost, and their updates, masked or compact."""
