"""A store at a URL that fsspec knows, such as s3://bucket/prefix: objects that appear when their upload is complete."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from prescore.errors import StoreRefused, StoreUnavailable
from prescore.store.folder import writing

SIGN = "prescore.txt"
_SIGN = b"prescore keeps snapshots and model files here.\n"
_BLOCK = 2**24
"""What one request fetches of an object that is read as a whole."""


@dataclass(frozen=True)
class _Refusal:
    """What no retry mends, and what is said of it: exceptions of Python's, error numbers, parts of exceptions' names.

    Drivers have no class of exceptions in common.
    """

    message: str
    kinds: tuple[type[Exception], ...] = ()
    numbers: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    def covers(self, error: Exception) -> bool:
        """Whether an error is of this kind."""
        named = any(word in kind.__name__ for kind in type(error).__mro__ for word in self.words)
        return named or isinstance(error, self.kinds) or getattr(error, "errno", None) in self.numbers


_MEND = "mend store in prescore.toml or PRESCORE_STORE"
_REFUSALS = (
    _Refusal(
        "The store {store} needs a package that is not installed: {said}. For s3:// it comes with "
        "pip install 'prescore[s3]'. Install it wherever steps run, or {mend}.",
        kinds=(ImportError,),
    ),
    _Refusal("The store {store} is not there: {said}. Create the bucket, or {mend}.", kinds=(FileNotFoundError,)),
    _Refusal(
        "The store {store} does not let us in: {said}. Give this machine a key that may list, read, write and delete "
        "there, or {mend}.",
        kinds=(PermissionError,),
        words=("Credential", "Authentication", "Unauthorized", "ProfileNotFound"),
    ),
    _Refusal(
        "The store {store} cannot be used: {said}. Look at the settings of its driver, or {mend}.",
        kinds=(ValueError, NotImplementedError),
        numbers=(errno.EINVAL, errno.EPERM, errno.ENOSYS, getattr(errno, "EREMCHG", errno.EINVAL)),
        words=("ParamValidation", "NoRegion"),
    ),
)


class Bucket:
    """What a store asks of the place that it is in; names are relative to the URL.

    Whatever is asked raises StoreRefused or StoreUnavailable when there is no answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return re.sub(r"//[^/@]*@", "//", self.url)  # without a password

    def at(self, name: str) -> str:
        """Where an object is, for messages."""
        return f"{self}/{name}"

    def reach(self) -> None:
        """Put down a sign: that tells whether the place is there and lets us write, in one request."""
        with self._asked():
            self._files.pipe_file(self._path(SIGN), _SIGN)

    def own(self) -> Path:
        """The local folder for what processes of this machine put aside; nobody else can look into it."""
        folder = Path(tempfile.gettempdir()) / f"prescore-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():
            raise StoreRefused(f"{folder} is somebody else's. Remove it, or set TMPDIR to another folder.")
        return folder

    @contextmanager
    def appearing(self, name: str) -> Iterator[Path]:
        """A local path to write to; what is there is then uploaded under its name, and appears whole or not at all.

        Raises StoreFull when there is no room for it on this machine.
        """
        part = self.own() / "parts" / f"{uuid4().hex}.{socket.gethostname()}.{os.getpid()}"
        part.parent.mkdir(exist_ok=True)
        with writing(part):
            yield part
            with self._asked():
                self._files.put_file(str(part), self._path(name))

    def read(self, name: str) -> bytes:
        """An object's content; raises FileNotFoundError."""
        with self._asked(FileNotFoundError):
            content: bytes = self._files.cat_file(self._path(name))
        return content

    def open(self, name: str) -> Ranges:
        """What pyarrow reads the object from."""
        return Ranges(self, name)

    def fingerprint(self, name: str) -> str | None:
        """SHA-256 of an object's content, all of which is fetched for it; None when it is not there."""
        try:
            with io.BufferedReader(self.open(name), _BLOCK) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names of what is in a folder."""
        return [name for name in self._sizes(folder) if name.startswith(f"{folder}/")]

    def size(self, name: str) -> int:
        """An object's size; 0 when it is not there."""
        with suppress(FileNotFoundError):
            return self.length(name)
        return 0

    def total(self) -> int:
        """How much all objects take."""
        return sum(self._sizes("").values())

    def remove(self, name: str) -> None:
        """Remove an object if it is there."""
        with self._asked(FileNotFoundError), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def length(self, name: str) -> int:
        """An object's size; raises FileNotFoundError."""
        with self._asked(FileNotFoundError):
            return int(self._files.info(self._path(name))["size"])

    def range(self, name: str, start: int, end: int) -> bytes:
        """Part of an object, in one request; raises FileNotFoundError."""
        with self._asked(FileNotFoundError):
            content: bytes = self._files.cat_file(self._path(name), start=start, end=end)
        return content

    def _sizes(self, folder: str) -> dict[str, int]:
        with self._asked():
            found = self._files.find(self._path(folder).rstrip("/"), detail=True)
        return {path.removeprefix(self._path("")): int(info["size"] or 0) for path, info in found.items()}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @property
    def _files(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return str(self._opened[1])

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """fsspec's file system, which looks again each time: other machines write here too."""
        import fsspec

        opened: tuple[Any, str] = fsspec.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)
        return opened

    @contextmanager
    def _asked(self, *passing: type[Exception]) -> Iterator[None]:
        """What a driver raises, as ours; all drivers have in common is Python's own exceptions."""
        try:
            yield
        except passing:
            raise
        except Exception as error:
            raise _translated(str(self), error) from error


class Ranges(io.RawIOBase):
    """An object as a file: each read is a request for just what is read. Its first request is its first use."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self._name, self._position = bucket, name, 0

    def __str__(self) -> str:
        return self._bucket.at(self._name)

    @cached_property
    def _size(self) -> int:
        return self._bucket.length(self._name)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; nothing is fetched."""
        if whence != io.SEEK_SET:
            offset += self._position if whence == io.SEEK_CUR else self._size
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Fetch as much as fits, or is left."""
        count = min(len(buffer), max(self._size - self._position, 0))
        if count:
            buffer[:count] = self._bucket.range(self._name, self._position, self._position + count)
            self._position += count
        return count


def _translated(store: str, error: Exception) -> StoreRefused | StoreUnavailable:
    said = " ".join(str(error).split()) or type(error).__name__
    for refusal in _REFUSALS:
        if refusal.covers(error):
            return StoreRefused(refusal.message.format(store=store, said=said, mend=_MEND))
    return StoreUnavailable(
        f"The store {store} does not answer: {said}. Does this machine reach it, and is it up? "
        "Readers keep the version that they have; the next run goes on where this one stopped."
    )
