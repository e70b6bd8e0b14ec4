"""Control as a process of its own, for tests that kill it: `control_alone.py FOLDER PORT`."""

import asyncio
import sys
import time
from pathlib import Path

from aiohttp import web

from headgate_control.budgets.owner import BudgetOwner
from headgate_control.feed.budget_routes import RemoteBudgetRoutes
from headgate_control.feed.feed import Feed
from headgate_control.feed.routes import FeedRoutes
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.server.answers import told_errors
from headgate_control.server.doors import Caller, Doors
from headgate_control.state import ControlState
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.opening import open_sqlite


async def serve(folder: Path, port: int) -> None:
    """Until it is killed."""
    store = open_sqlite(folder / "control.db", writer="control-1")
    state = ControlState(store, PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'})))
    owner = BudgetOwner.open(folder / "budgets", state.now.budgets.values())
    callers = {"gateway": Caller(role="gateway", name="remote-1")}
    doors = Doors(keys=lambda: state.now.keys, authenticate=callers.get, clock=time.time_ns)
    feed = Feed(store, state, EnforcementPoints())
    feed.start()
    app = web.Application(middlewares=[told_errors])
    budgets = RemoteBudgetRoutes(owner=owner, doors=doors, clock=time.time_ns)
    app.add_routes([*FeedRoutes(feed=feed, doors=doors).routes(), *budgets.routes()])
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
