"""Threads that take turns: blocking code that can be stopped at a point, and gone on with, step by step."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any


class KilledError(BaseException):
    """The process of this code is dead: it unwinds, and nothing that it still does has an effect."""


class Turn:
    """Some blocking code. It runs in ``go`` alone, until it waits or ends.

    Args:
        function: the code.
        done: told what it returned or raised, unless it was killed.

    """

    def __init__(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None] = lambda *_: None
    ) -> None:
        self._function = function
        self._done = done
        self._until: Callable[[], bool] = lambda: True
        self._hand: _Hand | None = None
        self.due_s = -math.inf
        """When it goes on at the latest."""
        self.killed = False
        self.ended = False

    def ready(self, now_s: float) -> bool:
        """Say whether it would go on."""
        return not self.ended and (self.killed or now_s >= self.due_s or self._until())

    def go(self) -> None:
        """Let it run until it waits or ends."""
        if self._hand is None:
            if self.killed:
                self.ended = True
                return
            self._hand = _idle.pop() if _idle else _Hand()
            self._hand.begin(self._play)
        else:
            self._hand.go_on()
        if self.ended:
            _idle.append(self._hand)

    def wait(self, until: Callable[[], bool], due_s: float = math.inf) -> None:
        """Stop here until something is so, or until a time; called by the code itself.

        Raises:
            KilledError: its process has died meanwhile.

        """
        if self.mine and not self.killed:
            self._until, self.due_s = until, due_s
            self._hand.pause()  # type: ignore[union-attr] - mine, so it has one
        if self.killed:
            raise KilledError

    @property
    def mine(self) -> bool:
        """Say whether the caller is this very code, not a helper thread of it."""
        return self._hand is not None and self._hand.ident == threading.get_ident()

    def _play(self) -> None:
        result, error = None, None
        try:
            result = self._function()
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the caller's
            error = raised
        self.ended = True
        if not self.killed:
            self._done(result, error)


class _Hand:
    """A thread that turns borrow."""

    def __init__(self) -> None:
        # Plain locks, each held until the other side lets go of it: a semaphore takes four times as long.
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._play: Callable[[], None] = lambda: None
        thread = threading.Thread(target=self._work, name="sim-turn", daemon=True)
        thread.start()
        self.ident = thread.ident

    def begin(self, play: Callable[[], None]) -> None:
        self._play = play
        self.go_on()

    def go_on(self) -> None:
        self._go.release()
        self._back.acquire()

    def pause(self) -> None:
        self._back.release()
        self._go.acquire()

    def _work(self) -> None:
        self._go.acquire()
        while True:
            self._play()
            self.pause()


_idle: list[_Hand] = []
"""Threads that no turn has."""
