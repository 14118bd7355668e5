"""A worker process for each device: the wire to it, the program in it, and who keeps it alive."""
