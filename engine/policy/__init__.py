"""Every decision, pure: time and chance are arguments."""
