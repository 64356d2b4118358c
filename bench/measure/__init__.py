"""Measuring any callable: calls, passes, turns of two processes, and what their times may be trusted for.

Knows nothing of bundles. Imports numpy alone, so that a measuring process stays as lean as an application.
"""
