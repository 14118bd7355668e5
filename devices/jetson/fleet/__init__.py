"""Many boards: Ansible's inventory, batches and stopping, with `edge-streamer deploy` for each board."""
