"""Division of whole numbers."""


def ceil_div(number: int, divisor: int) -> int:
    """The quotient of a positive divisor, rounded up."""
    # Floor division of the negated number rounds up; floats would be inexact.
    return -(-number // divisor)
