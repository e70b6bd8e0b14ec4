"""Bars: spans of time on one common scale, and shares of a whole."""

EIGHTHS = " ▏▎▍▌▋▊▉█"


def span(start: float, end: float, *, width: int, unicode: bool = True) -> str:
    """A bar from `start` to `end`, both shares of the whole between 0 and 1, in `width` cells.

    What happened is always seen: the shortest bar is one mark.
    """
    first = min(int(start * width), width - 1)
    last = max(min(round(end * width), width), first + 1)
    if last - first == 1 and (end - start) * width < 0.5:
        mark = "▏" if unicode else "|"
    else:
        mark = ("█" if unicode else "#") * (last - first)
    return " " * first + mark


def portion(value: float, *, width: int, unicode: bool = True) -> str:
    """A bar as long as `value`, a share between 0 and 1, in `width` cells, to an eighth of a cell."""
    eighths = round(max(0.0, min(value, 1.0)) * width * 8)
    if not unicode:
        return "#" * round(eighths / 8)
    whole, rest = divmod(eighths, 8)
    return EIGHTHS[8] * whole + (EIGHTHS[rest] if rest else "")
