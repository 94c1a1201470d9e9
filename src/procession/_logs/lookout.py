"""Which of the followed files may have news, and when to look again.

- A file is watched through inotify: one event, one look.
- A file that writes without pause is let off its watch, which costs its writer 0.5 to 0.9 µs a write
  and us an event each, and is *hot*: its size is asked for 10 to 250 times a second, until it pauses.
- A file that is not there yet is waited for by a watch on its directory.
- The net: every file is looked at once a second, since a network file system tells nothing of other
  hosts' writes and a full queue drops events. Where a watch cannot be had at all, the net is cast
  every ``interval`` of the views instead.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from procession._log import Logger
from procession._os.inotify import (
    IN_CREATE,
    IN_MODIFY,
    IN_MOVED_TO,
    IN_ONLYDIR,
    OVERFLOW,
    Inotify,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from procession._logs.follow import Followed

logger = Logger(__name__)

NET_PERIOD = 1.0
_QUIET_LOOKS = 50  # so many looks without news, and a hot file is watched again


def hot_period(count: int) -> float:
    """Seconds between two looks at ``count`` hot files: 4 ms, up to 100 ms for a thousand."""
    return min(0.1, max(0.004, count * 1e-4))


class Lookout:
    """Keeps `news`, the files that may have bytes to read, in the order in which they were seen."""

    def __init__(self) -> None:
        self.news: dict[Followed, None] = {}
        self.inotify = _open_inotify()
        self._intervals: dict[Followed, float] = {}  # every file, with its view's interval
        self._files_of: dict[int, set[Followed]] = {}
        self._watch_of: dict[Followed, int] = {}
        self._hot: dict[Followed, int] = {}  # with the number of looks without news
        self._blind: set[Followed] = set()
        self._hot_due = self._net_due = math.inf
        self._rest_due = 0.0  # no hot file is looked at before

    def add(self, file: Followed, interval: float, now: float) -> None:
        """Begin to look after a file; the net is cast every ``interval`` where it has no watch."""
        self._intervals[file] = interval
        self.reopen(file)
        self._net_due = min(self._net_due, now + self._net_period())

    def remove(self, files: Collection[Followed]) -> None:
        """Look after some files no more; they are closed.

        Their watches stay until the net is cast: most files end together, and then all watches do, with
        the instance, at a tenth of the price.
        """
        for file in files:
            self._intervals.pop(file, None)
            if (watch := self._watch_of.pop(file, None)) is not None:
                self._files_of[watch].discard(file)
            file.close()
        forget(files, self._hot, self.news)
        self._blind.difference_update(files)

    def reopen(self, file: Followed) -> None:
        """Take what is under the file's path now, and watch it or, without it, its directory."""
        self._unwatch(file)
        self._hot.pop(file, None)
        file.close()
        self._look_for(file)

    def take_events(self) -> None:
        """Note the news that inotify has."""
        watches = self.inotify.read() if self.inotify else set()
        for watch in watches:
            for file in tuple(self._files_of.get(watch, ())):
                self._note(file)
        if OVERFLOW in watches:
            self._net_due = 0.0

    def look(self, now: float) -> None:
        """Look at the hot files if that is due, and at every file if the net is."""
        if now >= self._hot_due:
            self._look_at_hot(now)
        if now >= self._net_due:
            for file in tuple(self._intervals):
                file.settle(calm=False)
                self._look_at(file)
            self._end_idle_watches()
            self._net_due = now + self._net_period()

    def due(self) -> float:
        """When to `look` again."""
        return min(self._hot_due, self._net_due)

    @property
    def is_hot(self) -> bool:
        """True while files are looked at again and again: others with news had better join them."""
        return bool(self._hot)

    def relieve(self, files: Iterable[Followed], now: float) -> None:
        """Take busy files off their watches."""
        for file in files:
            if file.is_open and file not in self._hot:
                self._unwatch(file)
                self._hot[file] = 0
        self.schedule_hot(now)

    def put_off(self, files: Iterable[Followed], now: float, due: float) -> None:
        """Have no news of busy files until then; others have theirs meanwhile."""
        self.relieve(files, now)
        for file in files:
            self.news.pop(file, None)
        self._rest_due = self._hot_due = due

    def rests(self, now: float) -> bool:
        """True while files are put off."""
        return now < self._rest_due

    def schedule_hot(self, now: float) -> None:
        """Set the next look at the hot files; those of a blocked sink are not worth one."""
        if any(not file.waits for file in self._hot):
            due = max(now + hot_period(len(self._hot)), self._rest_due)
            self._hot_due = min(self._hot_due, due)
        else:
            self._hot_due = math.inf

    def close(self) -> None:
        """Close everything."""
        self.remove(tuple(self._intervals))
        if self.inotify:
            self.inotify.close()

    def forget(self) -> None:
        """Close the descriptors alone, in a forked child."""
        for file in self._intervals:
            file.close()
        if self.inotify:
            self.inotify.close()

    def _note(self, file: Followed) -> None:
        if file.is_open:
            self.news[file] = None
        else:
            self._look_for(file)

    def _look_at(self, file: Followed) -> None:
        if not file.is_open:
            self._look_for(file)
        elif file.has_news() or file.is_replaced():
            self.news[file] = None

    def _look_for(self, file: Followed) -> None:
        found = file.open()
        if not found and file not in self._watch_of:
            self._watch_directory(file)
            found = file.open()  # it may have been created between the look and the watch
        if found:
            self._watch(file)
            if file.has_news():  # many a worker says nothing on stderr
                self.news[file] = None

    def _look_at_hot(self, now: float) -> None:
        for file, quiet_looks in tuple(self._hot.items()):
            if file.has_news():
                self.news[file] = None
                self._hot[file] = 0
            elif quiet_looks < _QUIET_LOOKS:
                self._hot[file] = quiet_looks + 1
            else:
                self._cool(file)
        self._hot_due = math.inf
        self.schedule_hot(now)

    def _cool(self, file: Followed) -> None:
        del self._hot[file]
        self._watch(file)
        if file.has_news():  # written between the look and the watch
            self.news[file] = None

    def _net_period(self) -> float:
        return min([NET_PERIOD, *(self._intervals[file] for file in self._blind)])

    def _watch(self, file: Followed) -> None:
        self._set_watch(file, file.watched, IN_MODIFY)

    def _watch_directory(self, file: Followed) -> None:
        directory = os.path.dirname(file.path) or "."
        self._set_watch(file, directory, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)

    def _set_watch(self, file: Followed, path: str, mask: int) -> None:
        self._unwatch(file)
        self._blind.discard(file)
        try:
            if self.inotify is None:
                self._blind.add(file)
                return
            watch = self.inotify.watch(path, mask)
        except OSError:  # no such directory yet, no watches left, no /proc
            self._blind.add(file)
            return
        self._watch_of[file] = watch
        self._files_of.setdefault(watch, set()).add(file)

    def _unwatch(self, file: Followed) -> None:
        if (watch := self._watch_of.pop(file, None)) is None:
            return
        self._files_of[watch].discard(file)
        if not self._files_of[watch]:
            self._end_watch(watch)

    def _end_idle_watches(self) -> None:
        for watch in [watch for watch, files in self._files_of.items() if not files]:
            self._end_watch(watch)

    def _end_watch(self, watch: int) -> None:
        del self._files_of[watch]
        if self.inotify is not None:
            self.inotify.unwatch(watch)


def forget(files: Collection[Followed], *groups: dict[Followed, Any]) -> None:
    """Take files out of groups, most of which have nobody in them."""
    for group in filter(None, groups):
        for file in files:
            group.pop(file, None)


def _open_inotify() -> Inotify | None:
    try:
        return Inotify()
    except OSError as error:
        logger.info("log files are polled: no inotify (%s)", error.strerror)
        return None
