"""Settings: what can be set, in which unit, with which default, and why."""
