"""From a published message to a socket: encode once, number, queue within bounds, write."""
