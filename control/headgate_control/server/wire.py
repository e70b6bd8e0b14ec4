"""AuthZEN requests as they come over the wire, parsed and bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from headgate_control.budgets.question import estimate_of
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_processors.errors import PermanentError

EVALUATIONS_MAX = 200
TEXT_CHARS_MAX = 4_096
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
ACTIONS: tuple[ActionName, ...] = get_args(ActionName)
_NAMES: Mapping[str, Sequence[str]] = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
"""What every part of a question must say; one of several may leave it to the whole."""


class WireError(PermanentError):
    """The request is not what AuthZEN says; the message names the place and what was expected."""


class UnknownActionError(WireError):
    """The request is well formed, and asks for what nobody can do: nothing grants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """Several questions in one request.

    One that is no question stands as what is wrong with it: the others are answered all the same.
    """

    requests: Sequence[Request | PermanentError]
    semantic: Semantic


def parse_evaluation(body: object) -> Request:
    """One question.

    Raises:
        WireError: a part is missing or of another type, or the action is not known.
    """
    whole = _object(body, "the body")
    subject, action, resource = (_object(whole.get(name), name) for name in ("subject", "action", "resource"))
    name = _text(action.get("name"), "action.name")
    _optional(action, "properties", "action.properties")
    known = next((one for one in ACTIONS if one == name), None)
    if known is None:
        raise UnknownActionError(f"action.name: {name[:100]!r} is none of {', '.join(ACTIONS)}")
    found = Resource(
        type=_text(resource.get("type"), "resource.type"),
        id=_text(resource.get("id"), "resource.id"),
        properties=_optional(resource, "properties", "resource.properties"),
    )
    return Request(
        subject=Subject(
            type=_text(subject.get("type"), "subject.type"),
            id=_text(subject.get("id"), "subject.id"),
            properties=_optional(subject, "properties", "subject.properties"),
        ),
        action=known,
        resource=found.as_tool() if known == "tools/call" else found,
        context=_context(whole),
    )


def parse_evaluations(body: object) -> Evaluations | Request:
    """Several questions; what one leaves out is that of the whole. A body that lists none is one question itself.

    Raises:
        WireError: it is no list of objects, or a single one as `parse_evaluation` says, or there are too many.
    """
    whole = _object(body, "the body")
    listed = whole.get("evaluations")
    if listed is not None and not isinstance(listed, list):
        raise WireError("evaluations: expected a list")
    if not listed:
        return parse_evaluation(whole)
    if len(listed) > EVALUATIONS_MAX:
        raise WireError(f"evaluations: {len(listed)} of them; {EVALUATIONS_MAX} are allowed")
    shared = {name: whole[name] for name in ("subject", "action", "resource", "context") if name in whole}
    options = _optional(whole, "options", "options")
    wanted = options.get("evaluations_semantic", "execute_all")
    semantic = next((one for one in get_args(Semantic) if one == wanted), None)
    if semantic is None:
        raise WireError(f"options.evaluations_semantic: expected one of {', '.join(get_args(Semantic))}")
    own = [_object(one, f"evaluations[{place}]") for place, one in enumerate(listed)]
    return Evaluations(requests=[_one_of_several(shared, one) for one in own], semantic=semantic)


def _one_of_several(shared: Mapping[str, Any], own: Mapping[str, Any]) -> Request | PermanentError:
    """One question, with what the whole says in place of what it leaves out: a part, or the name of a part."""
    try:
        return parse_evaluation({**shared, **{part: _named(part, shared, own[part]) for part in own}})
    except WireError as error:
        return error


def _named(part: str, shared: Mapping[str, Any], own: object) -> object:
    above = shared.get(part)
    if not isinstance(own, Mapping) or not isinstance(above, Mapping):
        return own
    return {**{name: above[name] for name in _NAMES.get(part, ()) if name in above}, **own}


def _context(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    context = _optional(whole, "context", "context")
    try:
        estimate_of(context)
    except ValueError as error:
        raise WireError(str(error)) from error
    return context


def _optional(value: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """An object that may be left out, or null."""
    found = value.get(name)
    return {} if found is None else _object(found, where)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WireError(f"{where}: expected an object")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > TEXT_CHARS_MAX:
        raise WireError(f"{where}: expected text of 1 to {TEXT_CHARS_MAX} characters")
    return value
