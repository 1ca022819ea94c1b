"""The process that owns the lab's servers; nothing here runs in a kernel. Begin in __main__."""
