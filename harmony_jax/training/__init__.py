"""Training: the loop, one step of it, and what keeps it going and visible."""
