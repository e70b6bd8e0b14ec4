"""The house style, executed: sizes, names, docstrings, links, the changelog, and what the wheel holds."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("processors", "analytics", "control", "gateways", "console")
SKIPPED = {"build", "dist", "demo-data", "headgate-data", "node_modules", "__pycache__"}
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MEDIAN = 15
MODULE_LINES_MAX = 500
BANNED_MODULES = {"utils", "util", "manager", "managers", "helper", "helpers", "data", "misc", "common"}
BANNED_CLASS = re.compile(r"(Manager|Helper|Utils?)$")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".sql", ".json", ".sh", ".cfg", ""}
OUTSIDE = ("../" + "shared", "/work/" + "shared")
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b|NotImplemented" + "Error")


class Function(NamedTuple):
    """One function: where it is, and its code lines, docstring and decorators left out."""

    where: str
    lines: int


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in SKIPPED or (path.name.startswith(".") and path.name != ".ci"):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


@cache
def _files() -> tuple[Path, ...]:
    return tuple(_walk(ROOT))


def _python(*folders: str) -> list[Path]:
    return [path for path in _files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(
                f"{_name(path)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1
            )


def test_no_function_is_longer_than_the_house_allows() -> None:
    """A function longer than 70 lines, its docstring included, is two functions."""
    every = [function for path in _python(*ROOMS, "tests") for function in _functions(path)]
    assert [] == [f"{where}: {lines} lines" for where, lines in every if lines > FUNCTION_LINES_MAX]


def test_no_test_can_wait_for_ever() -> None:
    """A thread of a test is a daemon, or its process could not end; no loop turns on the spot without a deadline."""
    found = []
    for path in (path for path in _python("tests") if path.parent.name != "bench"):
        for node in ast.walk(_tree(path)):
            is_thread = isinstance(node, ast.Call) and ast.unparse(node.func) in {"threading.Thread", "Thread"}
            if is_thread and "daemon" not in {keyword.arg for keyword in node.keywords}:
                found.append(f"{_name(path)}:{node.lineno} thread")
            if isinstance(node, ast.While) and isinstance(node.body[0], ast.Pass):
                found.append(f"{_name(path)}:{node.lineno} loop")
    assert [] == found


def test_most_functions_are_short() -> None:
    """The median function of the packages stays under 15 lines."""
    lengths = [function.lines for path in _python(*ROOMS) for function in _functions(path)]
    assert statistics.median(lengths) < FUNCTION_LINES_MEDIAN


def test_no_module_is_longer_than_the_house_allows() -> None:
    """A module longer than 500 lines holds two ideas."""
    lengths = {_name(path): path.read_text(encoding="utf-8").count("\n") for path in _python(*ROOMS, "tests")}
    assert {} == {name: lines for name, lines in lengths.items() if lines > MODULE_LINES_MAX}


def test_modules_and_classes_are_named_after_what_they_are() -> None:
    """No module or class is called utils, manager, helper or data."""
    modules = [_name(path) for path in _python(*ROOMS, "tests") if BANNED_MODULES & {path.stem, path.parent.name}]
    classes = [
        f"{_name(path)} {node.name}"
        for path in _python(*ROOMS)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and BANNED_CLASS.search(node.name)
    ]
    assert [] == modules + classes


def test_nothing_needs_a_folder_outside_the_project() -> None:
    """No file names a folder that a fresh machine does not have."""
    texts = [path for path in _files() if path.suffix in TEXT_SUFFIXES]
    offending = [_name(path) for path in texts if any(word in path.read_text(encoding="utf-8") for word in OUTSIDE)]
    assert [] == offending


def test_nothing_is_left_unfinished() -> None:
    """No file holds a note to finish it later, and no function is a stub."""
    written = [path for path in _files() if path.suffix in {".py", ".md", ".yaml", ".yml", ".sql", ".toml"}]
    assert [] == [_name(path) for path in written if UNFINISHED.search(path.read_text(encoding="utf-8"))]


def test_every_module_of_a_package_says_what_it_is() -> None:
    """Every module, every package included, begins with a docstring."""
    assert [] == [_name(path) for path in _python(*ROOMS) if not ast.get_docstring(_tree(path))]


def test_every_test_says_what_it_promises() -> None:
    """Every test has a docstring of its own."""
    silent = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in _python("tests")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert [] == silent


def test_no_package_is_empty() -> None:
    """A package holds more than its own `__init__`; a room that has nothing has no folder."""
    packages = {path.parent for path in _python(*ROOMS) if path.name == "__init__.py"}
    assert [] == [_name(folder) for folder in packages if {path.name for path in _walk(folder)} == {"__init__.py"}]


def test_tests_have_names_of_their_own() -> None:
    """Test modules are imported by path, so two of one name would confuse reports."""
    names = [path.name for path in _python("tests") if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)


def test_no_case_is_named_after_the_time() -> None:
    """Gzip writes the second into what it packs, and pytest that into a name, which then differs between workers."""
    found = [
        f"{_name(path)}:{call.lineno}"
        for path in _python("tests")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in {"pytest.mark.parametrize", "pytest.param"}
        and not {"id", "ids"} & {word.arg for word in call.keywords}
        and any("compress" in ast.unparse(one.func) for one in _cases_of(call))
    ]
    assert [] == found


def _cases_of(call: ast.Call) -> Iterator[ast.Call]:
    """The calls that make its values, those within `pytest.param` left out."""
    waiting: list[ast.AST] = list(call.args)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Lambda) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.param"):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def test_every_room_is_built_checked_and_kept_in_its_place() -> None:
    """Each room that exists is in the wheel, in development mode, under mypy, coverage and the import rules."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = [room for room in ROOMS if (ROOT / room).is_dir()]
    packages = [f"headgate_{room}" for room in rooms]
    tool = config["tool"]
    assert [f"{room}/headgate_{room}" for room in rooms] == tool["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert rooms == tool["hatch"]["build"]["dev-mode-dirs"]
    assert packages == tool["mypy"]["packages"]
    assert packages == tool["coverage"]["run"]["source_pkgs"]
    assert packages == tool["importlinter"]["root_packages"]
    assert packages[::-1] == tool["importlinter"]["contracts"][0]["layers"]


def test_the_changelog_follows_keep_a_changelog() -> None:
    """Versions descend, are dated, and group their entries under the agreed headings; the top one is unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert "[Unreleased]" == headings[0]
    assert [] == [line for line in headings[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line)]
    groups = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert re.search(r"^- \S", text, re.MULTILINE)


def _links(path: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)", text):
        yield next(filter(None, target))


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _broken(path: Path, link: str) -> bool:
    if re.match(r"https?://|mailto:", link):
        return False
    target, _, anchor = link.partition("#")
    file = (path.parent / target).resolve() if target else path
    return not file.exists() or bool(anchor and file.suffix == ".md" and anchor not in _anchors(file))


def test_links_between_pages_resolve() -> None:
    """Every relative link of every page leads to a file, and its anchor to a heading."""
    pages = [path for path in _files() if path.suffix == ".md"]
    assert [] == [f"{_name(path)}: {link}" for path in pages for link in _links(path) if _broken(path, link)]


def test_decision_records_have_one_shape() -> None:
    """Each record is numbered without gaps and has a status, a context, a decision and consequences."""
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [f"{number:03d}" for number in range(1, len(records) + 1)] == [path.name[:3] for path in records]
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert re.match(r"# \d{3}\. \S.*\n\nStatus: (accepted|superseded by \[)", text), path.name
        assert ["Context", "Decision", "Consequences"] == re.findall(r"^## (.+)$", text, re.MULTILINE), path.name


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as a release is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == built.returncode, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Modules, rule tables, SQL and recordings all reach whoever installs; nothing else does."""
    inside = {
        path.relative_to(ROOT / room).as_posix()
        for room in ROOMS
        if (ROOT / room).is_dir()
        for path in _walk(ROOT / room / f"headgate_{room}")
    } | {f"headgate_console/collector/configurations/{path.name}" for path in _walk(ROOT / "collector-config")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == held
