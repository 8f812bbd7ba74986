"""The enforcer: finds what got past the gate, and reverts it, with brakes."""
