"""Raters without a browser: they speak Streamlit's protocol with a server of the arena, so many fit on one machine.

A client does what the page's JavaScript does: it opens a websocket, asks for the page, reads which buttons there are,
and presses one. What a browser adds, drawing the page, is left out: `bench_arena.py --browsers` has it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

MIN_THINK_S = 0.3
"""The page ignores a click sooner after a pair shows."""
PATIENCE_S = 60.0
LABELS = ("A is better", "B is better", "Level", "Skip")


@dataclass(slots=True)
class Seen:
    """What the server has sent of the page."""

    buttons: dict[str, str] = field(default_factory=dict)
    """label -> id"""
    fragment: str = ""
    page: str = ""


async def rate(address: str, token: str, until: float, think_s: float, seed: int, out: list[float]) -> None:
    """One rater, from the first pair until the time is over; appends the seconds from each click to the next pair."""
    rng = np.random.default_rng(seed)
    await asyncio.sleep(float(rng.uniform(0, think_s)))
    where = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    async with websockets.connect(where, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        seen = Seen()
        ask = BackMsg()
        ask.rerun_script.query_string = f"rater={token}"
        await socket.send(ask.SerializeToString())
        await _read_run(socket, seen)
        while time.monotonic() < until and LABELS[0] in seen.buttons:
            await asyncio.sleep(max(MIN_THINK_S, float(rng.exponential(think_s))))
            pressed = seen.buttons[LABELS[int(rng.integers(len(LABELS)))]]
            click = BackMsg()
            click.rerun_script.query_string = f"rater={token}"
            click.rerun_script.page_script_hash = seen.page
            click.rerun_script.fragment_id = seen.fragment
            state = click.rerun_script.widget_states.widgets.add()
            state.id, state.trigger_value = pressed, True
            start = time.perf_counter()
            await socket.send(click.SerializeToString())
            await _read_run(socket, seen)
            if pressed in seen.buttons.values():
                raise RuntimeError("the pair is the same after the vote")
            out.append(time.perf_counter() - start)


async def _read_run(socket: Any, seen: Seen) -> None:
    """Read until the script has finished, and remember the buttons that it drew."""
    seen.buttons = {}
    while True:
        message = ForwardMsg()
        message.ParseFromString(await asyncio.wait_for(socket.recv(), PATIENCE_S))
        kind = message.WhichOneof("type")
        if kind == "new_session":
            seen.page = message.new_session.page_script_hash
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            if element.WhichOneof("type") == "exception":
                raise RuntimeError("the page shows an exception")
            if element.WhichOneof("type") == "button":
                seen.buttons[element.button.label] = element.button.id
                seen.fragment = message.delta.fragment_id
        elif kind == "script_finished":
            return


def rate_all(address: str, tokens: Sequence[str], until: float, think_s: float) -> tuple[list[float], list[str]]:
    """All raters at once; the seconds of each vote, and what went wrong."""

    async def together() -> tuple[list[float], list[str]]:
        out: list[float] = []
        raters = (rate(address, token, until, think_s, seed, out) for seed, token in enumerate(tokens))
        ended = await asyncio.gather(*raters, return_exceptions=True)
        return out, [repr(one) for one in ended if isinstance(one, BaseException)]

    return asyncio.run(together())
