"""What a machine feels while it works: readings of its sensors, from files; nothing here changes anything."""
