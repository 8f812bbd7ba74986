"""The command `lictor`: arguments, exit codes and progress; the work is done elsewhere."""
