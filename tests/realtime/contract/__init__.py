"""What clients and operators can rely on: one short test for each row, by the row's name."""
