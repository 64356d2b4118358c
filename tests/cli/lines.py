"""Command lines as a shell and typer read them, without running anything."""

import shlex

import typer

from mrl_edge.cli import app

_OPERATORS = {"|", "||", "&&", ">", ">>", "<", ";", "&"}


def words(line: str) -> list[str]:
    """Split a line as a shell does, up to its first operator; comments and continuations are the shell's."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if word in _OPERATORS:
            break
        found.append(word)
    return found


def parse(arguments: list[str]) -> dict[str, object]:
    """Return the parameters of the command that the arguments name; raises as typer does for what it refuses."""
    command = typer.main.get_command(app)
    context = command.make_context("mrl-edge", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context.params
