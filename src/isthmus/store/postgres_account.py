"""Where the embedded PostgreSQL may live and as whom it runs, when Isthmus itself is started by root.

PostgreSQL refuses to run as root, so root starts it under an account without privileges. That account must be able to
reach the programs and the data directory. No directory that is not ours is opened up for it: what it can't reach
(everything below /root, a private temporary directory) is kept below `SYSTEM_HOME` instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

import msgspec

from isthmus.errors import Unavailable

SYSTEM_HOME = Path("/var/lib/isthmus")
ACCOUNT_NAMES = ("isthmus", "nobody")


class Account(msgspec.Struct, frozen=True):
    """User and group that PostgreSQL runs as."""

    uid: int
    gid: int


def server_account(data: Path) -> Account | None:
    """The account to run PostgreSQL as; None = as ourselves.

    A data directory that exists already is served by its owner, so that root can start what an ordinary user made.
    Raises Unavailable when it belongs to somebody else, or when root has no account to use.
    """
    owner = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise Unavailable(
                f"{data} belongs to the user with id {owner.st_uid}, not to you: start Isthmus as the user that "
                "created it (or as root), or choose another data directory.",
                code="data_directory_owner",
            )
        return None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ACCOUNT_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise Unavailable(
        f"PostgreSQL can't run as root and there is no account {' or '.join(ACCOUNT_NAMES)}: create one "
        "(useradd --system isthmus), or start Isthmus as an ordinary user.",
        code="no_server_account",
    )


def can_reach(path: Path, account: Account) -> bool:
    """Whether the account may search every directory above `path` and read `path` itself."""
    path = path.resolve()
    searchable = all(_permitted(parent, account, stat.S_IXOTH) for parent in path.parents)
    return searchable and _permitted(path, account, stat.S_IROTH)


def reachable_package(package: Path, version: str, account: Account) -> Path:
    """The installed package with PostgreSQL that this account can use: the given one, or its copy below `SYSTEM_HOME`.

    The programs look for their libraries beside the package, in `<package>.libs`, so both go together.
    """
    libraries = package.with_name(f"{package.name}.libs")
    parts = [part for part in (package, libraries) if part.exists()]
    samples = [package / "pginstall" / "bin" / "initdb", package / "pginstall" / "share", *parts]
    if all(can_reach(sample, account) for sample in samples):
        return package
    target = SYSTEM_HOME / f"postgresql-{version}"
    if not target.exists():
        _copy_readable(parts, target)
    return target / package.name


def _copy_readable(parts: list[Path], target: Path) -> None:
    """Copy directories into a new one that everybody may read, which appears as a whole or not at all."""
    staging = _new_system_directory("postgresql-")
    for part in parts:
        shutil.copytree(part, staging / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in (staging, *staging.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        staging.rename(target)
    except OSError:
        shutil.rmtree(staging)
        if not target.exists():
            raise


def reachable_home(directory: Path, account: Account) -> Path:
    """The directory for the server's files: `directory` itself, or one below `SYSTEM_HOME` that `server` points to.

    `directory` is ours, so the account is let through it (search, not read); the directories above it are not ours.
    Raises Unavailable rather than begin anew elsewhere when there is a database already that can't be reached.
    """
    link = directory / "server"
    if link.is_symlink():
        if not link.exists():
            raise Unavailable(
                f"The database of {directory} was kept in {link.readlink()}, which is gone. Restore it there; to "
                f"begin with an empty one, delete {directory}.",
                code="data_directory_unreachable",
            )
        return link.resolve()
    if not _permitted(directory, account, stat.S_IXOTH):
        directory.chmod(directory.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    closed = [parent for parent in directory.resolve().parents if not _permitted(parent, account, stat.S_IXOTH)]
    if not closed:
        return directory
    if (directory / "data").exists():
        raise Unavailable(
            f"{directory} holds a database, which PostgreSQL's account (user id {account.uid}) can't reach any more: "
            f"it may not search {', '.join(map(str, closed))}. Let it (chmod o+x), or move the data directory where it "
            "may.",
            code="data_directory_unreachable",
        )
    home = _new_system_directory("server-")
    home.chmod(0o711)
    link.symlink_to(home)
    return home


def _new_system_directory(prefix: str) -> Path:
    try:
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=SYSTEM_HOME))
    except OSError as error:
        raise Unavailable(
            f"PostgreSQL can't run as root, and {SYSTEM_HOME} can't be written ({error.strerror}): start Isthmus as an "
            "ordinary user, or put it and its data directory where every user may look.",
            code="system_home",
        ) from error


def _permitted(path: Path, account: Account, bit: int) -> bool:
    """Whether the account has a permission, given as its bit for others, on a file or directory."""
    status = path.stat()
    if status.st_uid == account.uid:
        bit <<= 6
    elif status.st_gid == account.gid:
        bit <<= 3
    return bool(status.st_mode & bit)
