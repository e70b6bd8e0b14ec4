import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NOT_EMBEDDINGS = "FROM model_calls WHERE operation <> 'embeddings'"
FAST_SCENARIOS = frozenset({"multi_step", "handoff", "multi_step+killed", "multi_step+multiturn"})
FIGURES = {
    "model_calls": f"SELECT count(*) {NOT_EMBEDDINGS} AND error_type IS NULL",
    "input_tokens": f"SELECT sum(input_tokens) {NOT_EMBEDDINGS}",
    "output_tokens": f"SELECT sum(output_tokens) {NOT_EMBEDDINGS}",
    "cache_read_tokens": f"SELECT sum(cache_read_tokens) {NOT_EMBEDDINGS}",
    "tool_calls": "SELECT count(*) FROM tool_calls",
    "sessions": "SELECT count(*) FROM sessions",
}


def _cases() -> list[Any]:
    found = []
    for path in sorted(HERE.glob("**/expected.json")):
        for scenario in json.loads(path.read_text()):
            name = f"{path.parent.relative_to(HERE)}/{scenario}"
            marks = [] if scenario in FAST_SCENARIOS else [pytest.mark.slow]
            found.append(pytest.param(name, id=name, marks=marks))
    return found


@pytest.mark.parametrize("name", _cases())
def test_every_figure_of_a_recording_is_among_those_expected(
    name: str, workbench: Any, recording: Callable[[str], Any]
) -> None:
    """A recording of a real agent comes out with the figures that its model endpoint logged, or NULL for silence."""
    setup, _, scenario = name.rpartition("/")
    expected = json.loads((HERE / setup / "expected.json").read_text())[scenario]
    workbench.ingest(recording(name))
    workbench.derive()
    columns = ", ".join(f"({query})::BIGINT AS {figure}" for figure, query in FIGURES.items())
    found = workbench.query(f"SELECT {columns}")[0]
    wrong = {figure: (found[figure], allowed) for figure, allowed in expected.items() if found[figure] not in allowed}
    assert {} == wrong
