"""Programs: the logic between graphs, named by the manifest (`wan_streamer`, `chain`)."""
