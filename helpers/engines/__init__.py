"""Servers as the kernel has them: chosen, started, asked. `start.server` gives a running one."""
