"""What operators do from the command line, beside a running server or without one."""
