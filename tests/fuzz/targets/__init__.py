"""One module for each decoder of bytes from outside."""
