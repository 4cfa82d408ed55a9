"""What to ship, found by a race within a budget."""
