"""Patterns: what they match, and that one which covers another matches all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.manifests.globs import Glob, settled_path

NAMES = st.text(alphabet="ab/", max_size=6)
PATTERNS = st.text(alphabet="ab/*?", max_size=6)
PATHS = st.text(alphabet="ab/.", min_size=1, max_size=8)
PATH_PATTERNS = st.text(alphabet="ab/*?.", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("gpt-5-*", "gpt-5-mini", True),
        ("gpt-5-*", "gpt-4o", False),
        ("*", "", True),
        ("*", "meta/llama", True),
        ("read_?", "read_a", True),
        ("read_?", "read_", False),
        ("read_file", "read_files", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "example.com", False),
    ],
)
def test_a_name_is_matched_whole(pattern: str, text: str, expected: bool) -> None:
    """A pattern that fits a part of a name does not match it."""
    assert expected == Glob(pattern).matches(text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("src", "src/a/b.py", True),
        ("src", "./src", True),
        ("src", "srcs/a.py", False),
        ("src", "src/../secrets", False),
        ("src", "../src/a.py", False),
        ("src", "/src/a.py", False),
        ("src", "tests//../src/a.py", True),
        (".", "any/thing", True),
        (".", "/etc/passwd", False),
        ("/", "/etc/passwd", True),
        ("/tmp", "/tmp/x", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/a/b.py", False),
        ("src/**/b.py", "src/a/c/b.py", True),
        ("src", "src\\..\\secrets", False),
        ("src", "src/a\0b", False),
        ("src", "", False),
    ],
)
def test_a_path_is_matched_with_all_below_it(pattern: str, text: str, expected: bool) -> None:
    """It is settled first, so that no `..` leads out."""
    assert expected == Glob(pattern, "path").matches(text)


@pytest.mark.parametrize("text", ["../x", "a/../../b", ""])
def test_a_pattern_that_leads_out_is_refused(text: str) -> None:
    """It says what is wrong with it."""
    with pytest.raises(ValueError, match="is no path inside the workspace"):
        Glob(text, "path")


def test_a_pattern_has_a_length_limit() -> None:
    """Matching takes time in proportion to it."""
    with pytest.raises(ValueError, match="513 characters; 512 are allowed"):
        Glob("a" * 513)


@given(wide=PATTERNS, narrow=PATTERNS, text=NAMES)
def test_what_covers_a_name_pattern_matches_all_that_it_matches(wide: str, narrow: str, text: str) -> None:
    """No text is found that only the narrower one matches."""
    covered = Glob(wide).covers(Glob(narrow)) and Glob(narrow).matches(text)
    assert not covered or Glob(wide).matches(text)


@given(wide=PATH_PATTERNS, narrow=PATH_PATTERNS, text=PATHS)
def test_what_covers_a_path_pattern_matches_all_that_it_matches(wide: str, narrow: str, text: str) -> None:
    """The same for paths."""
    if settled_path(wide) is None or settled_path(narrow) is None:
        return
    covered = Glob(wide, "path").covers(Glob(narrow, "path")) and Glob(narrow, "path").matches(text)
    assert not covered or Glob(wide, "path").matches(text)


@given(one=PATTERNS, other=PATTERNS, text=NAMES)
def test_patterns_that_share_a_text_meet(one: str, other: str, text: str) -> None:
    """And meeting is mutual."""
    first, second = Glob(one), Glob(other)
    is_shared = first.matches(text) and second.matches(text)
    assert (is_shared or first.meets(second), first.meets(second)) == (first.meets(second), second.meets(first))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a*", "*b", True),
        ("a?", "?b", True),
        ("a*", "b*", False),
        ("a?", "a", False),
        ("?", "/", False),
        ("*", "/", True),
    ],
)
def test_patterns_meet_where_some_text_is_of_both(one: str, other: str, expected: bool) -> None:
    """And nowhere else."""
    assert expected == Glob(one).meets(Glob(other))


@given(pattern=PATTERNS)
def test_a_pattern_covers_itself_and_everything_covers_nothing_more(pattern: str) -> None:
    """`*` covers every name pattern."""
    assert (True, True) == (Glob(pattern).covers(Glob(pattern)), Glob("*").covers(Glob(pattern)))
