"""Giving up root's privileges, once the addresses are bound.

    root: sockets, limits on files --drop--> server.user: zones, databases, children, queries

A process that was not started as root has nothing to give up: systemd's units and the containers of deploy/
start it so.
"""

import ctypes
import grp
import os
import pwd
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>
STATE_MODE = 0o700  # of a state folder that we make


class PrivilegeError(Exception):
    """The privileges can not be given up; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to become: a user, its group, and the groups beside that one."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account(user: str, group: str | None) -> Account:
    """The account of a user and group by name or number. Raises PrivilegeError."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        name, uid, gid = found.pw_name, found.pw_uid, found.pw_gid
    except (KeyError, OverflowError):
        if not user.isdecimal():
            raise PrivilegeError(
                f'server.user: there is no user "{user}" (useradd --system {user})'
            ) from None
        if group is None:
            raise PrivilegeError(f"server.user: {user} has no entry in passwd: name a server.group") from None
        name, uid, gid = "", int(user), 0
    if group is not None:
        try:
            gid = grp.getgrnam(group).gr_gid if not group.isdecimal() else int(group)
        except KeyError:
            raise PrivilegeError(f'server.group: there is no group "{group}"') from None
    if uid == 0 or gid == 0:
        raise PrivilegeError("server.user and server.group are to be others than root")
    try:
        groups = os.getgrouplist(name, gid) if name else [gid]
    except (OSError, OverflowError):
        groups = [gid]
    return Account(user, uid, gid, tuple(group for group in groups if group))


def own(folder: Path, account: Account) -> None:
    """Give the state folder, and what root has left in it, to the account. Raises PrivilegeError.

    Nothing is followed out of it: a link is given itself, and what it leads to stays whose it is.
    """
    try:
        folder.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        os.chown(folder, account.uid, account.gid)
        for _, folders, files, opened in os.fwalk(folder):
            for name in (*folders, *files):
                found = os.stat(name, dir_fd=opened, follow_symlinks=False)
                # a file with a second name may be one of somebody else's
                if found.st_uid == 0 and (not stat.S_ISREG(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, account.uid, account.gid, dir_fd=opened, follow_symlinks=False)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PrivilegeError(f"{folder}: the state can not be given to {account.name}: {reason}") from None


def drop(account: Account) -> None:
    """Become the account, for ever, with all threads and children to come. Raises PrivilegeError.

    In the order in which each step needs what the next takes away: other groups, the group, the user. The
    kernel takes all capabilities with the last (capabilities(7)).
    """
    try:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        forbid_new()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PrivilegeError(f"can not become {account.name}: {reason}") from None
    with suppress(OSError):
        os.setresuid(0, 0, 0)
        raise PrivilegeError(f"became {account.name}, and can become root again")


def forbid_new() -> None:
    """No program that this thread, or one to come, starts gets privileges by its file (prctl(2)).

    Raises OSError.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
