"""A greenhouse; see `greenhouse.actors`."""
