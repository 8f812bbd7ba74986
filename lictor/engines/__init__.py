"""In-process rule engines: source to compiled rule, and values in, values out."""
