"""What all commands show in a terminal."""
