"""The report on density counts what a reader reads."""

from tests.style_report import Density, density, function_lengths

TEXT = '''"""A module."""

import math  # 2 tokens


def area(radius):
    """Of a circle."""

    return math.pi * radius**2


class Circle:
    """Has an area."""

    def area(self):
        text = """a string
        that is no docstring"""
        return text
'''


def test_tokens_are_counted_without_comments_docstrings_and_layout():
    assert density("import math  # no word of the code\n") == Density(2, 1)
    assert density('def f():\n    """Do nothing."""\n') == Density(5, 1)
    assert density(TEXT) == Density(2 + 6 + 8 + 3 + 6 + 3 + 2, 7)


def test_functions_are_named_with_their_class_the_longest_first():
    assert function_lengths(TEXT) == [(4, "area"), (4, "Circle.area")]
