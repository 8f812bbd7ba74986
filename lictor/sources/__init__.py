"""Where policies are read: nothing here parses one."""
