"""Events as the Python library decodes them: from an executive that says anything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ipc import cpg_layouts as cpg
from ipc.layout import Layout
from ipc.layouts import RESPONSE_HEADER, ResponseHeader
from libais._cpg_events import Decoder
from libais.errors import CsException
from libais.limits import REASSEMBLY_BYTES_MAX
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0

HEADS: Final[dict[int, Layout[Any]]] = {
    cpg.CpgEvent.CONFCHG: cpg.CONFCHG_EVENT,
    cpg.CpgEvent.DELIVER: cpg.DELIVER_EVENT,
    cpg.CpgEvent.PARTIAL_DELIVER: cpg.PARTIAL_DELIVER_EVENT,
    cpg.CpgEvent.TOTEM_CONFCHG: cpg.TOTEM_CONFCHG_EVENT,
}


def fuzz(data: bytes) -> None:
    """An event, None, ValueError or a CsException; fragments held stay within their limit."""
    decoder = Decoder()
    for step in steps(data):
        try:
            event = decoder.decode(step.data)
        except (ValueError, CsException) as error:
            text = str(error)
        else:
            text = repr(event)[:100]
        assert text
        held = sum(map(len, decoder._fragments.values()))
        assert held == decoder._held <= REASSEMBLY_BYTES_MAX


def _fields(step: Step) -> Sequence[Leaf]:
    number = RESPONSE_HEADER.unpack(step.data).id if len(step.data) >= RESPONSE_HEADER.size else -1
    return tuple(leaves(HEADS.get(number, RESPONSE_HEADER)))


@cache
def seeds() -> Sequence[bytes]:
    """One event of each kind, and a message in fragments."""
    group = b"group"
    address = cpg.Address(1, 2, 1)
    events = [
        cpg.pack_confchg(group, [address, cpg.Address(2, 2)], [cpg.Address(3, 4, 3)], [address]),
        cpg.pack_totem_confchg(1, 8, [1, 2, 3]),
        cpg.pack_deliver(group, 1, 2, 10) + bytes(10),
    ]
    fragments = [cpg.pack_partial_deliver(group, 1, 2, 30, 10, place) + bytes(10) for place in (1, 2, 3)]
    singles = [[event] for event in events]
    return [join(Step(0, 0, event) for event in run) for run in (*singles, fragments, [*fragments, *events])]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of an event, or the order of events."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Events from the layouts, with lists and bodies long enough or not."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, mixed, step, step_lists, structure

    def proper(number: int, body: bytes) -> bytes:
        return RESPONSE_HEADER.pack(ResponseHeader(number, len(body), 1)) + body[RESPONSE_HEADER.size :]

    event = st.one_of(
        *(
            st.builds(proper, st.just(number), followed(structure(layout), st.binary(max_size=80)))
            for number, layout in HEADS.items()
        )
    )
    return mixed(step_lists(step(st.just(0), cut(event))), damaged(seeds(), mutate))
