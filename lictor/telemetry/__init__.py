"""Metrics and logs, with fixed label sets and keys."""
