"""What an administrator may do, each action checked and done in one place: by command or over HTTP."""
