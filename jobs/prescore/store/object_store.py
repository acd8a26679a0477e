"""A store at a URL that fsspec knows, such as s3://bucket/prefix. An object appears when its upload is complete."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from prescore.errors import StoreRefused, StoreUnavailable
from prescore.store.folder import process_suffix, temporary_file

MARKER = "prescore.txt"
"""The object that is written to see whether the store can be used."""
_MARKER_CONTENT = b"prescore keeps snapshots and model files here.\n"
# The size of one request when a whole object is read, in bytes.
_BLOCK_SIZE = 2**24


class ObjectStore:
    """The files of a store at a URL, as objects. Names of objects are relative to the URL.

    Every method that sends a request raises StoreRefused if the store cannot be used as it is set up, and
    StoreUnavailable if it does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        # Leave out the user and password.
        return re.sub(r"//[^/@]*@", "//", self.url)

    def location(self, name: str) -> str:
        """Return the URL of an object, for messages."""
        return f"{self}/{name}"

    def require_access(self) -> None:
        """Write a marker object: one request shows whether the store exists and can be written to."""
        with self._translate_errors():
            self._filesystem.pipe_file(self._path(MARKER), _MARKER_CONTENT)

    def local_folder(self) -> Path:
        """Return the folder for temporary files of processes on this machine; no other user can read it."""
        user = os.getuid()
        folder = Path(tempfile.gettempdir()) / f"prescore-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != user:
            raise StoreRefused(f"{folder} belongs to another user. Remove it, or set TMPDIR to another folder.")
        return folder

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Yield a local path to write to; on exit, the file is uploaded and appears under its name, complete.

        After an error, nothing appears. Raises StoreFull if the local disk is full.
        """
        folder = self.local_folder() / "parts"
        folder.mkdir(exist_ok=True)
        part = folder / f"{uuid4().hex}.{process_suffix()}"
        with temporary_file(part):
            yield part
            with self._translate_errors():
                path = self._path(name)
                self._filesystem.put_file(str(part), path)

    def read(self, name: str) -> bytes:
        """Return the content of an object; raise FileNotFoundError if there is none."""
        with self._translate_errors(FileNotFoundError):
            content: bytes = self._filesystem.cat_file(self._path(name))
        return content

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from `start` up to `end`; raise FileNotFoundError if there is none."""
        with self._translate_errors(FileNotFoundError):
            content: bytes = self._filesystem.cat_file(self._path(name), start=start, end=end)
        return content

    def open(self, name: str) -> ObjectFile:
        """Return an object as a file, for pyarrow."""
        return ObjectFile(self, name)

    def fingerprint(self, name: str) -> str | None:
        """Return the SHA-256 of an object's content, all of which is fetched, or None if there is no such object."""
        try:
            with io.BufferedReader(self.open(name), _BLOCK_SIZE) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder of the store."""
        prefix = f"{folder}/"
        return [name for name in self._sizes(folder) if name.startswith(prefix)]

    def size(self, name: str) -> int:
        """Return the size of an object in bytes, 0 if there is no such object."""
        try:
            return self.require_size(name)
        except FileNotFoundError:
            return 0

    def require_size(self, name: str) -> int:
        """Return the size of an object in bytes; raise FileNotFoundError if there is none."""
        with self._translate_errors(FileNotFoundError):
            return int(self._filesystem.info(self._path(name))["size"])

    def total_size(self) -> int:
        """Return the size of all objects together, in bytes."""
        return sum(self._sizes("").values())

    def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        with self._translate_errors(FileNotFoundError), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(name))

    def _sizes(self, folder: str) -> dict[str, int]:
        path = self._path(folder).rstrip("/")
        with self._translate_errors():
            objects = self._filesystem.find(path, detail=True)
        prefix = self._path("")
        sizes = {}
        for object_path, info in objects.items():
            name = object_path.removeprefix(prefix)
            sizes[name] = int(info["size"] or 0)
        return sizes

    def _path(self, name: str) -> str:
        _, root = self._opened
        return f"{root}/{name}"

    @property
    def _filesystem(self) -> Any:
        filesystem, _ = self._opened
        return filesystem

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """Return the file system of fsspec, and the path of the URL in it.

        The file system caches no listings, because other machines write here too.
        """
        import fsspec

        opened: tuple[Any, str] = fsspec.url_to_fs(
            self.url,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        return opened

    @contextmanager
    def _translate_errors(self, *allowed: type[Exception]) -> Iterator[None]:
        """Raise StoreRefused or StoreUnavailable for any error of a driver, except for the allowed ones."""
        try:
            yield
        except allowed:
            raise
        except Exception as error:
            raise _store_error(str(self), error) from error


class ObjectFile(io.RawIOBase):
    """An object as a file, read by range: each read is one request for the bytes that are read.

    Creating or seeking a file sends no request.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._position = 0

    def __str__(self) -> str:
        return self._store.location(self._name)

    @cached_property
    def _size(self) -> int:
        return self._store.require_size(self._name)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._size
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Fetch the bytes that fit into a buffer, or the rest of the object; return how many."""
        remaining = max(self._size - self._position, 0)
        count = min(len(buffer), remaining)
        if count:
            end = self._position + count
            buffer[:count] = self._store.read_range(self._name, self._position, end)
            self._position = end
        return count


@dataclass(frozen=True)
class _PermanentError:
    """A kind of driver error that a retry cannot fix, and the message for it.

    The drivers of fsspec share no class of exceptions. An error is recognised by a class of Python's own, by its error
    number, or by a part of the name of its class.
    """

    message: str
    exceptions: tuple[type[Exception], ...] = ()
    error_numbers: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()

    def matches(self, error: Exception) -> bool:
        """Return whether an error is of this kind."""
        if isinstance(error, self.exceptions):
            return True
        if getattr(error, "errno", None) in self.error_numbers:
            return True
        names = [kind.__name__ for kind in type(error).__mro__]
        return any(part in name for name in names for part in self.class_names)


_PERMANENT_ERRORS = (
    _PermanentError(
        "The store {store} needs a package that is not installed: {reason}. For s3://, run "
        "pip install 'prescore[s3]' on every machine that runs steps. Otherwise {hint}.",
        exceptions=(ImportError,),
    ),
    _PermanentError(
        "The store {store} does not exist: {reason}. Create the bucket, or {hint}.",
        exceptions=(FileNotFoundError,),
    ),
    _PermanentError(
        "The store {store} denies access: {reason}. Give this machine a key that may list, read, write and delete "
        "objects there, or {hint}.",
        exceptions=(PermissionError,),
        class_names=("Credential", "Authentication", "Unauthorized", "ProfileNotFound"),
    ),
    _PermanentError(
        "The store {store} cannot be used: {reason}. Check the settings of its driver, or {hint}.",
        exceptions=(ValueError, NotImplementedError),
        error_numbers=(errno.EINVAL, errno.EPERM, errno.ENOSYS, getattr(errno, "EREMCHG", errno.EINVAL)),
        class_names=("ParamValidation", "NoRegion"),
    ),
)
_HINT = "correct store in prescore.toml or PRESCORE_STORE"


def _store_error(store: str, error: Exception) -> StoreRefused | StoreUnavailable:
    """Return the error for one that a driver raised."""
    reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
    for permanent in _PERMANENT_ERRORS:
        if permanent.matches(error):
            return StoreRefused(permanent.message.format(store=store, reason=reason, hint=_HINT))
    return StoreUnavailable(
        f"The store {store} does not answer: {reason}. Check that it is up and that this machine can reach it. "
        "The published version is still served; the next run resumes this one."
    )
