"""Frozen values: what is asked, what the law says, what is decided, planned and recorded."""
