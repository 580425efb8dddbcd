"""Servers that stand in for Apple, and the benchmarks."""
