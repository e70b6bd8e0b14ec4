"""What control is made of, from the settings."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from headgate_console.control.callers import callers_of, kept_token, telemetry_token, token_ender
from headgate_console.control.holding import Held, held_state
from headgate_console.control.place import ADMIN_FILE, SIGNING, WRITER, Place, exposure
from headgate_console.control.platform import pinned_of, platform_of
from headgate_console.control.records import ControlRecords, exporter_to
from headgate_control.audit.log import AuditLog, last_body
from headgate_control.budgets.amount import nano_usd
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.kinds import CREDENTIAL
from headgate_control.manifests.load import load_profiles
from headgate_control.policy.bundle import Bundle, load_bundle
from headgate_control.policy.content import ContentClasses
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.kept import PolicyJournal
from headgate_control.policy.starter.files import starter_bundle
from headgate_control.room import Room
from headgate_control.server.doors import Doors
from headgate_control.server.refusals import Refusals
from headgate_control.state import ControlState
from headgate_control.stops.carrying import keep_ahead
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_gateways.model.cost import Conservative
from headgate_gateways.model.provider_keys import key_source
from headgate_gateways.model.routing import Routing, Rule
from headgate_gateways.model.upstream import Upstream
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.enrich.redact import RedactionRules, Redactor

if TYPE_CHECKING:
    from headgate_console.settings import Settings
    from headgate_console.settings.definition import RoutingRule

_LOG = logging.getLogger("control")
PROFILES = "profiles"
DECISIONS = "decisions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Control's state and books, the chain of its decisions, and the tokens of the site."""

    place: Place
    held: Held
    room: Room
    decisions: AuditLog
    records: ControlRecords
    keys: KeyStore
    signing: SigningKeys
    policies: PolicyJournal
    refusals: Refusals = field(default_factory=Refusals)


@contextmanager
def open_parts(settings: "Settings") -> Iterator[Parts]:
    """Everything of control that is on disk, for this process alone.

    Raises:
        ConfigError: the policies, a profile or the key store are wrong.
        StoreError: another process has it, it belongs to other books, or it is of a newer Headgate.
        TransientError: its database cannot be used now.
    """
    place = Place(data=settings.data)
    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = KeyStore(settings.data)
    signing = SigningKeys.open(place.folder / SIGNING)
    with held_state(settings, place) as held:
        store = held.store
        if (problem := exposure(place.admin_token)) is not None:
            _LOG.warning("%s", problem)
        kept_token(keys, "admin", place.admin_token, replaced=partial(_note_replaced, store))
        last = last_body(place.logs, DECISIONS) or {}
        keep_ahead(store, int(last.get("stop_epoch") or 0), author=WRITER, at_unix_nano=time.time_ns())
        bundle = bundle_of_settings(settings)
        policies = PolicyJournal(store, place.policies, node=held.writer)
        policies.use(bundle)
        policies.tell()
        state = ControlState(store, PolicyEngine(bundle))
        with (
            closing(AuditLog.open(place.logs, DECISIONS)) as decisions,
            closing(BudgetOwner.open(place.logs, state.now.budgets.values())) as owner,
            closing(_records(settings, place, keys)) as records,
        ):
            doors = Doors(keys=lambda: state.now.keys, authenticate=callers_of(keys), clock=time.time_ns)
            room = Room(
                store=store,
                state=state,
                owner=owner,
                points=EnforcementPoints(),
                doors=doors,
                telemetry_token=telemetry_token(keys),
                end_tokens=token_ender(keys),
                heard=records.effects,
                profiles=lambda: load_profiles(settings.policy.dir / PROFILES if settings.policy.dir else None),
                held_age_ns=held.age_ns,
            )
            yield Parts(
                place=place,
                held=held,
                room=room,
                decisions=decisions,
                records=records,
                keys=keys,
                signing=signing,
                policies=policies,
            )


def bundle_of_settings(settings: "Settings") -> Bundle:
    """The policies of `policy.dir`; without one, those that leave everything to manifests.

    Raises:
        ConfigError: a policy is wrong.
    """
    if settings.policy.dir is not None:
        return load_bundle(settings.policy.dir)
    return starter_bundle()


def upstreams_of(settings: "Settings") -> Mapping[str, Upstream]:
    """The providers behind the model gateway, by the door through which they are reached.

    Raises:
        ConfigError: an `api_key` is no place of a key.
    """
    return {
        name: Upstream(
            name=name,
            kind=given.kind or ("anthropic" if name == "anthropic" else "openai"),
            base_url=given.base_url.rstrip("/"),
            api_key=key_source(given.api_key),
        )
        for name, given in settings.gateways.model.upstreams.items()
    }


def _note_replaced(store: ControlStore, token_ids: list[str]) -> None:
    """Write into the journal that tokens end, because the file that held the last of them is gone."""
    changes = [Change(kind=CREDENTIAL, id=one, body={"token_id": one, "state": "revoked"}) for one in token_ids]
    reason = f"{ADMIN_FILE} was missing or held no good token, so a new one was made"
    store.change(changes, author=WRITER, action="token.revoke", reason=reason)


def _records(settings: "Settings", place: Place, keys: KeyStore) -> ControlRecords:
    token = kept_token(keys, "control", place.folder / "control.token")
    return ControlRecords(exporter_to(platform_of(settings), token, pinned_of(settings)), place.folder / "told")


def routing_of(settings: "Settings") -> Routing:
    """Where the model gateway sends calls."""
    given = settings.gateways.model.routing
    return Routing(
        rules=[_rule(one) for one in given.rules],
        fallbacks=given.fallbacks,
        attempts_max=given.attempts_max,
        backoff_ms=_ms(given.backoff),
        cache_bytes_max=given.cache_size_max,
    )


def unpriced_of(settings: "Settings") -> Conservative:
    """What models count for that have no price."""
    given = settings.gateways.model.unpriced
    return Conservative(
        input_usd_per_mtok=given.input_usd_per_mtok,
        output_usd_per_mtok=given.output_usd_per_mtok,
        is_allowed=given.allowed,
    )


def classes_of(settings: "Settings") -> ContentClasses:
    """Finds the classes of content that policies may ask for, by the site's redaction rules.

    Raises:
        ConfigError: the rules are wrong.
    """
    return ContentClasses(Redactor(RedactionRules.load(settings.redaction.file)))


def foreign_tokens_of(settings: "Settings") -> ForeignTokens | None:
    """The issuers that a site believes; None where it names none.

    Raises:
        ConfigError: their file is missing or wrong, or others than its owner may write it.
    """
    file = settings.control.issuers
    return None if file is None else ForeignTokens.open(file)


def _rule(given: "RoutingRule") -> Rule:
    return Rule(
        name=given.name,
        models=given.models,
        task_classes=given.task_classes,
        workflows=given.workflows,
        teams=given.teams,
        to=given.to,
        slower_than_ms=None if given.slower_than is None else _ms(given.slower_than),
        input_tokens_max=given.input_tokens_max,
        cost_nano_usd_max=None if given.cost_usd_max is None else nano_usd(given.cost_usd_max),
        cache_s=None if given.cache is None else int(given.cache.total_seconds()),
    )


def _ms(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
