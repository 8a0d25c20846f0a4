"""How messages reach the subscribers in other processes; in a single process they need not travel at all."""
