"""What `read_table` says of data that it refuses."""

import re

import pytest

from mrl_edge.datasets import Columns, read_table
from mrl_edge.errors import DataError

TEXT = Columns(text="text")


def refusal_of(source, columns=TEXT):
    """Return the one line without the source that it begins with."""
    with pytest.raises(DataError) as caught:
        read_table(source, columns)
    message = str(caught.value)
    assert message.startswith(source)
    assert "\n" not in message
    return message.removeprefix(source)


def line_of(refusal):
    """Return the number of the line that a refusal names."""
    return int(re.match(r", (?:after )?line (\d+): ", refusal)[1])
