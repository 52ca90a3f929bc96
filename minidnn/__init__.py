"""minidnn: fast CPU inference from plain Python."""
