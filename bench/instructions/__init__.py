"""Counts the instructions of the core's workloads, and compares them with what is checked in."""
