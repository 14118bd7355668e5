"""The demo model: the toy world it learns from, its training, and the assets that ship with it."""
