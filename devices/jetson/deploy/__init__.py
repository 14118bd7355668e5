"""From this machine to a board over OpenSSH: what changed is sent, proven there, and switched to."""
