"""Our server against RFC 6455, one module for each of its sections, over a raw socket.

A case is what a client sends and all that it may hear. Each runs against a plain handler and against a wire, in one
piece and byte by byte, and leaves neither a connection nor a task behind.
"""
