"""Whose the calls of a session are that many instances name."""

import time

from headgate_analytics.model_calls import Call
from headgate_analytics.rows import Row, Who, agents_of
from headgate_analytics.shares import shares
from headgate_analytics.testing.nodes import span
from headgate_processors.enrich.identity import Identity

INSTANCES = 3_000


def test_a_session_of_thousands_of_instances_is_shared_out_in_linear_time() -> None:
    """Jobs of a pipeline that all name one session are each an instance of their own."""
    nodes = [
        span(f"c{number}", trace=f"t{number}", kind="llm", witness="gateway", verified_instance_id=f"ai-{number:04}")
        for number in range(INSTANCES)
    ]
    identity = Identity(tenant="default", instance_id="ai-0000", identity_source="verified")
    who = Who(session_id="s1", identity=identity, service_name=None, agents=agents_of(nodes), revision=1)
    calls: list[tuple[Call, Row]] = [(Call(node), {"model_call_id": node.name}) for node in nodes]
    began_s = time.process_time()
    found = shares(nodes, who, calls, [], lambda _: who)
    assert [[f"c{number}"] for number in range(1, INSTANCES)] == [
        [row["model_call_id"] for row in share.model_calls] for share in found
    ]
    assert 2.0 > time.process_time() - began_s
