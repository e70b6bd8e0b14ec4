"""AuthZEN requests as they come over the wire, parsed and bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_processors.errors import PermanentError

EVALUATIONS_MAX = 200
TEXT_CHARS_MAX = 4_096
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
ACTIONS: tuple[ActionName, ...] = get_args(ActionName)


class WireError(PermanentError):
    """The request is not what AuthZEN says; the message names the place and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """Several questions in one request; `is_single` where it lists none and is one itself, and is answered as one."""

    requests: Sequence[Request]
    semantic: Semantic
    is_single: bool = False


def parse_evaluation(body: object) -> Request:
    """One question.

    Raises:
        WireError: a part is missing or of another type, or the action is not known.
    """
    whole = _object(body, "the body")
    subject, action, resource = (_object(whole.get(name), name) for name in ("subject", "action", "resource"))
    name = _text(action.get("name"), "action.name")
    known = next((one for one in ACTIONS if one == name), None)
    if known is None:
        raise WireError(f"action.name: {name!r} is none of {', '.join(ACTIONS)}")
    return Request(
        subject=Subject(
            type=_text(subject.get("type"), "subject.type"),
            id=_text(subject.get("id"), "subject.id"),
            properties=_object(subject.get("properties", {}), "subject.properties"),
        ),
        action=known,
        resource=Resource(
            type=_text(resource.get("type"), "resource.type"),
            id=_text(resource.get("id"), "resource.id"),
            properties=_object(resource.get("properties", {}), "resource.properties"),
        ).settled(),
        context=_object(whole.get("context", {}), "context"),
    )


def parse_evaluations(body: object) -> Evaluations:
    """Several questions; what one leaves out is that of the whole.

    Raises:
        WireError: as `parse_evaluation`; or there are too many.
    """
    whole = _object(body, "the body")
    listed = whole.get("evaluations")
    if listed is not None and not isinstance(listed, list):
        raise WireError("evaluations: expected a list")
    if not listed:
        return Evaluations(requests=[parse_evaluation(whole)], semantic="execute_all", is_single=True)
    if len(listed) > EVALUATIONS_MAX:
        raise WireError(f"evaluations: {len(listed)} of them; {EVALUATIONS_MAX} are allowed")
    shared = {name: whole[name] for name in ("subject", "action", "resource", "context") if name in whole}
    options = _object(whole.get("options", {}), "options")
    wanted = options.get("evaluations_semantic", "execute_all")
    semantic = next((one for one in get_args(Semantic) if one == wanted), None)
    if semantic is None:
        raise WireError(f"options.evaluations_semantic: expected one of {', '.join(get_args(Semantic))}")
    own = [_object(one, f"evaluations[{place}]") for place, one in enumerate(listed)]
    return Evaluations(requests=[parse_evaluation({**shared, **one}) for one in own], semantic=semantic)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WireError(f"{where}: expected an object")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > TEXT_CHARS_MAX:
        raise WireError(f"{where}: expected text of 1 to {TEXT_CHARS_MAX} characters")
    return value
