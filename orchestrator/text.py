"""Text for people."""


def printable(text: str) -> str:
    """The text on one line: line breaks, escapes and other control characters are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
