"""The gate: a validating and mutating webhook."""
