"""The Cedar schema that policies are checked against: namespace `Headgate`, principal `AgentInstance`.

The kinds of the directory and their fields are types of it, and so is who asks: `principal.repo.sensitivity`.

What may be unknown is optional, so that a policy asks with `has` before it relies on it. Amounts are whole millionths
of a dollar, for a decimal of Cedar has four places. `context.input` has the arguments of a tool call that the bundle
declares.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from headgate_control.identity.directory import FACTS, REFERENCES
from headgate_control.request import ActionName

NAMESPACE = "Headgate"
_GROUPS = frozenset({"user", "workflow"})
ArgumentType = Literal["String", "Long", "Bool"]

_ENTITIES = """
  entity Profile;
  entity AgentInstance in [Workflow, Team, User, Profile, AgentInstance] = {
    risk_tier?: String, runtime?: String, task_class?: String, environment?: String, identity_source?: String,
    launched_by?: String, manifest_digest?: String, user?: User, service?: Service, team?: Team, workflow?: Workflow,
    repo?: Repo, resource?: Resource
  };
  entity Provider;
  entity Model in [Provider] = { name: String };
  entity McpServer;
  entity Tool in [McpServer] = { name: String, sensitivity?: String, environment?: String };
  entity Thing = { type: String, sensitivity?: String, environment?: String };
"""
_CONTEXT = """
  type Session = { model_calls: Long, tool_calls: Long, errors: Long, retries: Long, micro_usd: Long,
                   untrusted: Bool };
  type Budget = { micro_usd_left?: Long, tokens_left?: Long, calls_left?: Long };
  type Estimate = { micro_usd?: Long, tokens?: Long };
  type Context = { session: Session, budget: Budget, estimate: Estimate, content_classes: Set<String>,
                   approved_tiers: Set<String>, input: Input };
"""
_OWN: Mapping[str, tuple[ActionName, ...]] = {"Model": ("model.call",), "Tool": ("tools/call",)}
_OTHER = tuple(action for action in get_args(ActionName) if not any(action in actions for actions in _OWN.values()))
RESOURCES: Mapping[str, tuple[str, ...]] = {**_OWN, "Thing": _OTHER}


def entity_type(kind: str) -> str:
    """The type of a kind of entry of the directory."""
    return kind.capitalize()


def _directory() -> str:
    """The types of what the directory knows, with the fields of each."""
    return "".join(
        f"  entity {entity_type(kind)}{' in [Team]' if kind in _GROUPS else ''} = {{ {_facts(facts)} }};\n"
        for kind, facts in FACTS.items()
    )


def _facts(facts: Iterable[str]) -> str:
    kinds = ((fact, REFERENCES.get(fact)) for fact in facts)
    return ", ".join(f"{fact}?: {entity_type(kind) if kind is not None else 'String'}" for fact, kind in kinds)


def schema_text(arguments: Mapping[str, ArgumentType]) -> str:
    """The schema, with the declared arguments of tools, in Cedar's own syntax."""
    declared = ", ".join(f"{_quoted(name)}?: {kind}" for name, kind in sorted(arguments.items()))
    actions = "\n".join(
        f"  action {_quoted(action)} appliesTo {{ principal: [AgentInstance], resource: [{resource}], context: Context }};"
        for resource, listed in RESOURCES.items()
        for action in listed
    )
    return (
        f"namespace {NAMESPACE} {{\n{_directory()}{_ENTITIES}  type Input = {{ {declared} }};{_CONTEXT}{actions}\n}}\n"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
