"""Other ways of sending to APNs, each at its best setting: what Clarion's figures stand beside.

Each is a program of its own that is started with one argument, a file with its task in JSON (`task.Task`), sends what
the task says, and ends: with code 0 if every push was answered with 200.
"""
