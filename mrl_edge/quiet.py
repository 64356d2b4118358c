"""Nothing of what runs here is reported: imported before all else of this package.

onnxruntime tells its maker, from 1.29 on, which models a process runs: its packages for Linux start a thread for that,
keep a database in the user's cache and send it over the network (its Privacy.md), unless this is set before it is
imported. What a user set is left alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
