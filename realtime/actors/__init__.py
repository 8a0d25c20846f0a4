"""The bundled actor modules; also the examples to copy for one's own."""
