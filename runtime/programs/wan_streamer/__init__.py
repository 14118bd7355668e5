"""The program ``wan_streamer``: one unit of a full-duplex audio-visual conversation, pass by pass."""
