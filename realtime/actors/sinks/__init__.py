"""Actor modules that write the events to files, for other programs and for people."""
