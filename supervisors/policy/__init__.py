"""Decisions as plain functions of values: no Trio, no clock, no randomness of their own."""
