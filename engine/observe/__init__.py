"""Metrics and log: observers never decide."""
