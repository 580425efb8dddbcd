"""The command line: the top floor, which may import everything and is imported by nothing."""
