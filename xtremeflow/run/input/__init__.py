"""What a run is given: lines, where they come from, and the key."""
