"""The Trio code that carries out what the policies decide."""
