"""aisexec-top: the cluster at a glance, refreshed on a terminal; or once, or as JSON, for programs."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from libais.errors import CsException

from . import console, top_text
from .quorumtool import package_version
from .top_state import Reader
from .top_story import Story

PROGRAM = "aisexec-top"
INTERVAL_MIN: Final = 0.1
INTERVAL_MAX: Final = 3600.0
RECONNECT: Final = 1.0
"""Seconds between attempts to find the executive again."""
Show = Callable[[Story], object]

NO_RICH = f"""\
{PROGRAM}: the refreshing view needs the Python package "rich", which is not installed:
    apt install python3-rich        or: pip install 'aisexec[top]'
Without it {PROGRAM} --once prints one picture, and {PROGRAM} --json writes for programs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see aisexec-top(8)."""
    return console.run(command, arguments)


def command(arguments: Sequence[str]) -> int:
    """The same for given arguments."""
    options = _parser().parse_args(arguments)
    if options.once:
        return once(options.interval, _json if options.json else _text)
    if options.json:
        watch(options.interval, _json, options.count)
        return console.EXIT_SUCCESS
    try:
        from .top_screen import Screen
    except ImportError as error:
        if (error.name or "").split(".")[0] != "rich":
            raise
        console.complain(NO_RICH)
        return console.EXIT_FAILURE
    # The terminal has to be given back as it was.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Screen() as screen:
        watch(options.interval, screen.show, options.count)
    return console.EXIT_SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(PROGRAM, description="The cluster at a glance.", allow_abbrev=False)
    add = parser.add_argument
    add("-i", "--interval", type=_interval, default=1.0, metavar="SECONDS", help="between two pictures (1)")
    add("-n", "--count", type=_count, default=None, metavar="N", help="end after N pictures")
    add("--once", action="store_true", help="look for one interval, print one picture, end")
    add("--json", action="store_true", help="JSON instead: one line for each picture")
    add("-V", "--version", action="version", version=f"{PROGRAM} {package_version()}")
    return parser


def _interval(text: str) -> float:
    seconds = float(text)
    if not INTERVAL_MIN <= seconds <= INTERVAL_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not between {INTERVAL_MIN} and {INTERVAL_MAX:g} seconds")
    return seconds


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} pictures are too few")
    return number


def once(interval: float, show: Show) -> int:
    """Two readings, so that there are rates, and the picture; 1 when there is no executive."""
    story = Story()
    try:
        with Reader() as reader:
            story.take(reader.read())
            _follow(reader, story, time.monotonic() + interval)
    except CsException as error:
        raise console.Failure(f"{PROGRAM}: {error}") from None
    show(story)
    return console.EXIT_SUCCESS


def watch(interval: float, show: Show, count: int | None) -> None:
    """A picture every `interval` seconds, also while the executive is away; ends after `count` of them."""
    story = Story()
    shown = 0
    while count is None or shown < count:
        try:
            with Reader() as reader:
                story.take(reader.read())
                while count is None or shown < count:
                    show(story)
                    shown += 1
                    if shown != count:
                        _follow(reader, story, time.monotonic() + interval)
        except CsException as error:
            if story.now is not None or not story.happenings:
                story.lost(time.time(), str(error))
            show(story)
            shown += 1
            if shown != count:
                time.sleep(max(interval, RECONNECT))


def _follow(reader: Reader, story: Story, until: float) -> None:
    """Take a reading at the end, and one at each change of the membership: its reason is to be told apart."""
    while (left := until - time.monotonic()) > 0:
        if any(True for _ in reader.news(left)) and until > time.monotonic():
            story.take(reader.read(), periodic=False)
    story.take(reader.read())


def _json(story: Story) -> None:
    print(json.dumps(top_text.as_json(story)), flush=True)


def _text(story: Story) -> None:
    sys.stdout.write(top_text.plain(story))


if __name__ == "__main__":
    sys.exit(main())
