"""The errors that a user can cause. The command line prints each as one line and exits with code 2."""

from __future__ import annotations


class MrlEdgeError(Exception):
    """Something the user gave is wrong; the message says what, where, and what to do."""


class UsageError(MrlEdgeError):
    """An option or argument that makes no sense."""


class DataError(MrlEdgeError):
    """A data file that cannot be read, or a bad row in it."""


class ModelError(MrlEdgeError):
    """A folder that is no encoder or no trained model, or one that we cannot handle."""


class BundleError(MrlEdgeError):
    """A bundle that is missing, damaged, or newer than this version."""


class FidelityError(MrlEdgeError):
    """An exported graph that does not compute what PyTorch computes."""


class UnsupportedError(MrlEdgeError):
    """Something that this encoder or this machine cannot do."""


class ResultsError(MrlEdgeError):
    """A results file that is damaged or belongs to another run."""


class ReachError(MrlEdgeError):
    """A device that cannot be reached, or that does not let us do there what we must."""


class ConnectionLostError(ReachError):
    """A connection that broke; what was under way may or may not have been done."""
