"""What one level of a manifest says to a request: granted, refused, or nothing at all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from headgate_control.manifests.globs import glob
from headgate_control.manifests.spec import MEMORY_SCOPES, ArgumentRule, Spec, Tier, ToolRule
from headgate_control.request import ActionName, Request

_SHELL = frozenset(";&|<>$`(){}\n\r\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whether a level grants it, after whose approval, and why not."""

    granted: bool
    approval: Tier = "none"
    reason: str = ""


GRANTED = Ruling(granted=True)
Rule = Callable[[Spec, Request], Ruling | None]


def ruling(spec: Spec, request: Request) -> Ruling | None:
    """What a level says; None where it leaves the matter to the level above.

    An action that no section is about is refused.
    """
    rule = _RULES.get(request.action)
    return rule(spec, request) if rule is not None else Ruling(granted=False, reason=f"{request.action}: unknown")


def _listed(patterns: Iterable[str] | None, text: str, section: str) -> Ruling | None:
    """Whether one of the patterns of a section names `text`."""
    if patterns is None:
        return None
    if any(glob(pattern).matches(text) for pattern in patterns):
        return GRANTED
    return Ruling(granted=False, reason=f"{section} does not name {text!r}")


def _below(patterns: Iterable[str] | None, path: str, section: str) -> Ruling | None:
    if patterns is None:
        return None
    if any(glob(pattern, "path").matches(path) for pattern in patterns):
        return GRANTED
    return Ruling(granted=False, reason=f"{section} does not hold {path!r}")


def _model(spec: Spec, request: Request) -> Ruling | None:
    if spec.models is None:
        return None
    provider, _, model = request.resource.id.partition("/")
    for rule in spec.models:
        if glob(rule.provider).matches(provider) and glob(rule.model).matches(model):
            return GRANTED
    return Ruling(granted=False, reason=f"models does not name {request.resource.id!r}")


def _models(spec: Spec, request: Request) -> Ruling | None:
    """Whoever may call some model of a provider may see which there are."""
    return _listed(
        None if spec.models is None else [rule.provider for rule in spec.models], request.resource.id, "models"
    )


def _tool(spec: Spec, request: Request) -> Ruling | None:
    """The first rule that fits the tool and its arguments speaks; without `mcp_server` it means no server's tool."""
    server, tool = request.resource.text("server"), request.resource.id
    reached = _listed(spec.mcp_servers, server, "mcp_servers") if server is not None else None
    if reached is not None and not reached.granted:
        return reached
    if spec.tools is None:
        return None
    named = request.named
    wrong = f"tools does not name {named!r}"
    for rule in spec.tools:
        if fits_tool(rule, tool, server):
            mistake = wrong_argument(rule, request.arguments)
            if mistake is None:
                return Ruling(granted=True, approval=rule.approval)
            wrong = f"{named}: {mistake}"
    return Ruling(granted=False, reason=wrong)


def fits_tool(rule: ToolRule, tool: str, server: str | None) -> bool:
    """Whether a rule is about this tool of this server."""
    if rule.mcp_server is None or server is None:
        return rule.mcp_server is None and server is None and glob(rule.tool).matches(tool)
    return glob(rule.mcp_server).matches(server) and glob(rule.tool).matches(tool)


def wrong_argument(rule: ToolRule, arguments: Mapping[str, object]) -> str | None:
    """What is wrong with the arguments; None when they are as the rule wants them. Says no value."""
    for name, wanted in rule.arguments.items():
        if name not in arguments:
            if wanted.required:
                return f"argument {name!r} is missing"
            continue
        mistake = _wrong_value(wanted, arguments[name])
        if mistake is not None:
            return f"argument {name!r} {mistake}"
    others = sorted(arguments.keys() - rule.arguments.keys())
    return f"argument {others[0]!r} is not among those named" if others and not rule.other_arguments else None


def _wrong_value(wanted: ArgumentRule, value: object) -> str | None:
    text = value if isinstance(value, str) else None
    if wanted.one_of is not None and not any(type(value) is type(item) and value == item for item in wanted.one_of):
        return "is none of those allowed"
    if wanted.glob is not None and (text is None or not any(glob(one).matches(text) for one in wanted.glob)):
        return "matches no pattern"
    if wanted.path is not None and (text is None or not any(glob(one, "path").matches(text) for one in wanted.path)):
        return "is outside the paths allowed"
    if wanted.max_chars is not None and (text is None or len(text) > wanted.max_chars):
        return "is too long, or no text"
    return _wrong_amount(wanted, value) if wanted.min is not None or wanted.max is not None else None


def _wrong_amount(wanted: ArgumentRule, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return "is no number"
    try:
        amount = Decimal(str(value))
        low = wanted.min is not None and not amount >= wanted.min
        high = wanted.max is not None and not amount <= wanted.max
    except InvalidOperation:
        return "is no number"
    return "is too small" if low else "is too large" if high else None


def _command(spec: Spec, request: Request) -> Ruling | None:
    """A line of the shell with more than one command in it is granted only word for word."""
    if spec.commands is None:
        return None
    line = request.resource.id.strip()
    if is_shell(line):
        if line in spec.commands:
            return GRANTED
        return Ruling(granted=False, reason="commands: operators of the shell are granted only word for word")
    words = line.split()
    if any(glob(pattern).matches(" ".join(words)) for pattern in spec.commands):
        return GRANTED
    # The rest of the line may hold secrets, and reasons are kept.
    return Ruling(granted=False, reason=f"commands does not name this use of {words[0] if words else ''!r}")


def is_shell(line: str) -> bool:
    """Whether a line has an operator of the shell in it, and so may be more than one command."""
    return not _SHELL.isdisjoint(line)


def _network(spec: Spec, request: Request) -> Ruling | None:
    if spec.network is None:
        return None
    host, _, port = request.resource.id.rpartition(":")
    host = host.lower().removesuffix(".")
    for endpoint in spec.network:
        name, _, number = endpoint.rpartition(":")
        if number in {"*", port} and glob(name.lower()).matches(host):
            return GRANTED
    return Ruling(granted=False, reason=f"network does not name {request.resource.id!r}")


def _memory(spec: Spec, request: Request) -> Ruling | None:
    """`resource.id` is how far the memory reaches; what is not known reaches too far."""
    if spec.memory is None:
        return None
    reach = request.resource.id
    known = reach in MEMORY_SCOPES[1:]
    if not known or MEMORY_SCOPES.index(spec.memory.scope) < MEMORY_SCOPES.index(reach):
        return Ruling(granted=False, reason=f"memory reaches no further than {spec.memory.scope!r}")
    if request.action == "memory.write" and not spec.memory.write:
        return Ruling(granted=False, reason="memory may be read only")
    return GRANTED


def _files(spec: Spec, request: Request) -> Ruling | None:
    if spec.filesystem is None:
        return None
    if request.action == "file.read":
        return _below(spec.filesystem.read, request.resource.id, "filesystem.read")
    return _below(spec.filesystem.write, request.resource.id, "filesystem.write")


def _launch(spec: Spec, request: Request) -> Ruling | None:
    driver = None if spec.runtime is None else [spec.runtime.driver]
    return _listed(driver, request.resource.id, "runtime.driver")


_RULES: Mapping[ActionName, Rule] = {
    "model.call": _model,
    "model.list": _models,
    "tools/call": _tool,
    "resources/read": lambda spec, request: _listed(spec.data_sources, request.resource.id, "data_sources"),
    "net.connect": _network,
    "proc.exec": _command,
    "file.read": _files,
    "file.write": _files,
    "memory.read": _memory,
    "memory.write": _memory,
    "credential.use": lambda spec, request: _listed(spec.credentials, request.resource.id, "credentials"),
    "artifact.export": lambda spec, request: _below(spec.artifacts, request.resource.id, "artifacts"),
    "agent.send": lambda spec, request: _listed(spec.agents, request.resource.id, "agents"),
    "instance.launch": _launch,
}
