"""``python -m edge_streamer``: the command ``edge-streamer``, where its script is not on the path."""

import sys

from edge_streamer.runtime.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
