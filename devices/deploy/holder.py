"""Who measures on a board: its lock, in the folder of all that is ours there, and what the lock's file says."""

import msgspec

LOCK = "bench.lock"


class Holder(msgspec.Struct, frozen=True):
    """The run that holds the lock, and its process there."""

    run: str
    pid: int
