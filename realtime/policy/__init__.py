"""What can be decided from values alone: no Trio, no clock, no randomness of its own."""
