"""Proofs that nothing acknowledged is lost, whatever dies: the server, the machine, a system call."""
