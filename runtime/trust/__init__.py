"""Who made it: signatures of bundles, snapshots and releases, and what a device that has keys refuses.

Receives things and the signatures beside them; hands on whether they may be used here. A device without keys asks for
nothing, and needs no library for it.
"""
