"""Measurements: results as JSON with the machine's description, and never a test."""
