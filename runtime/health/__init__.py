"""How a run stands, for whoever watches a device: written once a second, asked for at a socket, and judged."""
