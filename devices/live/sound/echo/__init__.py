"""Against the agent hearing itself: the echo canceller, its meter, and the system's own."""
