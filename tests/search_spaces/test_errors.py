"""InputError: one printable line of bounded length, whatever the message quotes."""

import pytest

from search_spaces import InputError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines,\ttabs  and café ½ ", "two lines, tabs and café ½"),
        ("\x1b[31mred\x00", r"\x1b[31mred\x00"),
        ("reversed \u202e text", r"reversed \u202e text"),
        ("x" * 5_000, "x" * 999 + "…"),
        ("\x00" * 900, (r"\x00" * 900)[:999] + "…"),
    ],
    ids=range(5),
)
def test_message_is_one_printable_line_of_at_most_1000_characters(message, line):
    assert str(InputError(message)) == line


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
