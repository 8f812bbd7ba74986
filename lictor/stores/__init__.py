"""Embedded stores of what must survive a restart."""
