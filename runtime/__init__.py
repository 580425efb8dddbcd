"""How a process of Clarion begins, counts, listens and ends, whichever its part."""
