"""The prefixes that some encoders want before a text, by what the text is for."""

from __future__ import annotations

from collections.abc import Mapping

from mrl_edge.errors import UsageError

# What encoders call the prompts of each role, the first one found is taken.
_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus"), "text": ("classification",)}


def prefix_for(prompts: Mapping[str, str], default: str | None, name: str | None) -> str:
    """Return the prefix of a role (`query`, `document`, `text`) or of a prompt by its own name.

    A role without a prompt takes the default prompt, or none. Raises `UsageError` for an unknown name.
    """
    for candidate in _NAMES.get(name, (name,)) if name else ():
        if candidate in prompts:
            return prompts[candidate]
    if name is not None and name not in _NAMES:
        raise UsageError(f"no prompt {name!r} in this encoder; it has {', '.join(prompts) or 'none'}")
    return prompts.get(default, "") if default else ""
