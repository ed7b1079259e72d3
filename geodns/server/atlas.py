"""The atlas: where addresses are, for the map; made by a process of its own, as it takes seconds.

    stdin: Job --> geo.atlas.survey --> stdout: Atlas, or what is wrong with a database

It is made when it is first asked for, and again when a database or an override is another.
"""

import asyncio
import functools
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from geodns.config import Config
from geodns.geo.atlas import Atlas, Share, shares, survey
from geodns.geo.database import DatabaseError
from geodns.geo.locator import Locator
from geodns.geo.overrides import parse
from geodns.geo.partition import Partition
from geodns.server.children import environment
from geodns.server.files import Fingerprint, fingerprint_of

NICENESS = 10  # answering comes first
MAKE_SECONDS = 120.0  # for the largest commercial databases; those in geo-db/ take five
DIVIDED_MAX = 16  # records whose division is remembered: 100 kB and a third of a second each

Divide = Callable[[tuple[Partition, ...]], Sequence[Share]]


class AtlasError(Exception):
    """There is no atlas; the message says why."""


class Job(NamedTuple):
    databases: tuple[str, ...]
    overrides: dict[str, str]


class AtlasMaker:
    """Has the atlas of the databases of now. For the event loop's thread."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._making = asyncio.Lock()
        self._made: tuple[Job, tuple[Fingerprint, ...], Divide] | None = None

    async def divide(self) -> Divide:
        """How places are divided among the outcomes of partitions. Raises AtlasError."""
        async with self._making:
            config = self._config()
            job = Job(tuple(map(str, config.database_files())), config.geo.overrides)
            seen = tuple(map(fingerprint_of, job.databases))
            if self._made is None or self._made[:2] != (job, seen):
                atlas = await _make(job)
                self._made = job, seen, functools.lru_cache(DIVIDED_MAX)(functools.partial(shares, atlas))
            return self._made[2]


async def _make(job: Job) -> Atlas:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "geodns.server.atlas"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,  # Ctrl-C is for us; we end it
    )
    try:
        async with asyncio.timeout(MAKE_SECONDS):
            said, _ = await process.communicate(pickle.dumps(job))
    except TimeoutError:
        raise AtlasError(f"the map was not made within {MAKE_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise AtlasError(f"the process that makes the map ended with {process.returncode}")
    # both ends are this program, of one version, so that pickle is safe
    found = await asyncio.to_thread(pickle.loads, said)
    if isinstance(found, str):
        raise AtlasError(found)
    assert isinstance(found, Atlas)
    return found


def main() -> None:
    """Do the job on stdin."""
    os.nice(NICENESS)
    job: Job = pickle.load(sys.stdin.buffer)
    found: Atlas | str
    try:
        found = survey(Locator.open(job.databases, parse(job.overrides)[0]))
    except DatabaseError as error:
        found = str(error)
    pickle.dump(found, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    # the module as others import it: what is pickled is to be found there
    from geodns.server import atlas

    atlas.main()
