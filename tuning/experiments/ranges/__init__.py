"""The queues with claims that are ranges of the ready lists: scripts, verbs, and a check of what they promise."""
