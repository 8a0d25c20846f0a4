"""Runs recorded Erlang/OTP scenarios on this package's supervisors."""
