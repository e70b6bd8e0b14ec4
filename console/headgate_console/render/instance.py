"""An instance on one screen: its seven questions, from who started it to how to stop it."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.text import Text

from headgate_console.render.numbers import money, tokens
from headgate_console.render.table import clip, printable

LISTED_MAX = 8
_WHO = ("team", "workflow", "repo", "resource", "environment", "task_class", "risk_tier", "runtime", "policy_profile")


def told(found: Mapping[str, Any], *, width: int) -> Iterator[Text]:
    """The lines, of `width` cells at most."""
    state = Text(f"{found['instance_id']}  {found['state']}", "bold")
    yield state
    for title, lines in _questions(found):
        yield Text("")
        yield Text(title, "bold cyan")
        for line in lines or ["nothing so far"]:
            yield Text("  " + clip(printable(line), width - 2))


def _questions(found: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    yield "Who started it", list(_launch(found))
    yield (
        "What it may do",
        [_granted(found, name) for name in dict.fromkeys(one["section"] for one in found["granted"])],
    )
    yield "Which tools and models it used", [*map(_model, found["models"]), *map(_tool, found["tools"])][:LISTED_MAX]
    yield "What it touched", [*map(_touched, found["touched"])][:LISTED_MAX]
    yield "What it spent", list(_spent(found))
    yield "Which decisions it met", [_decided(one) for one in found["decided"]][:LISTED_MAX]
    yield "How to stop it", list(_stop(found))


def _launch(found: Mapping[str, Any]) -> Iterator[str]:
    user = f", for {found['user']}" if found.get("user") else ""
    yield f"{found.get('launched_by') or 'nobody known'}{user}"
    yield (
        ", ".join(f"{name.replace('_', ' ')} {found[name]}" for name in _WHO if found.get(name))
        or "no team, no workflow"
    )
    if len(found["lineage"]) > 1:
        yield "launched by " + " ← ".join(found["lineage"][1:])
    if found.get("restart_of"):
        yield f"takes up the work of {found['restart_of']}"
    yield f"manifest {found['manifest_digest']}"


def _granted(found: Mapping[str, Any], section: str) -> str:
    entries = [one["entry"] for one in found["granted"] if one["section"] == section]
    return f"{section}: {', '.join(entries)}"


def _touched(one: Mapping[str, Any]) -> str:
    return f"{one['action']}  {one['resource']}  {one['times']}×"


def _model(one: Mapping[str, Any]) -> str:
    return f"{one['model'] or 'a model without a name'}  {one['calls']}×"


def _tool(one: Mapping[str, Any]) -> str:
    name = f"{one['mcp_server']}/{one['tool']}" if one["mcp_server"] else one["tool"]
    failed = f", {one['not_ok']} not well" if one["not_ok"] else ""
    return f"{name}  {one['calls']}×{failed}"


def _spent(found: Mapping[str, Any]) -> Iterator[str]:
    spent = found["spent"]
    yield (
        f"{money(spent['cost_usd'])} in {spent['model_calls']} calls, "
        f"{tokens(spent['input_tokens'])} tokens in, {tokens(spent['output_tokens'])} out"
    )
    for one in found["budgets"]:
        for unit in ("usd", "tokens", "calls", "seconds"):
            if one[f"limit_{unit}"] is not None:
                settled, held, limit = (_amount(one, what, unit) for what in ("settled", "reserved", "limit"))
                whose = "its own" if one["scope"] == "instance" else f"{one['scope']} {one['target']}".strip()
                yield f"{settled} of {limit}, {held} reserved ({whose}, {one['window']}, {one['mode']})"


def _amount(one: Mapping[str, Any], what: str, unit: str) -> str:
    value = Decimal(str(one[f"{what}_{unit}"]))
    return money(value) if unit == "usd" else f"{value.normalize():,f} {unit}"


def _decided(one: Mapping[str, Any]) -> str:
    code = f" ({one['code']})" if one["code"] else ""
    return f"{one['effect']}{code}  {one['decisions']}×, the last: {one['last_reason'] or 'without a reason'}"


def _stop(found: Mapping[str, Any]) -> Iterator[str]:
    stopped = found["stopped_by"]
    if stopped is not None:
        target = f"{stopped['scope']} {stopped['target']}".strip()
        yield f"{target} is held by {stopped['author']}: {stopped['reason']}. headgate resume {target}"
    yield f"headgate stop instance {found['instance_id']} --reason TEXT"
