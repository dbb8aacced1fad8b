"""Download a file over HTTP: resumed, retried, checked before use, whole or not at all."""

import errno
import hashlib
import http.client
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from cseg.errors import DataError
from cseg.storage.files import NO_SPACE, take

CHUNK = 1 << 18  # bytes read at a time
LINE = 50 << 20  # bytes, at least, between lines of progress where there is no terminal
LONGEST_PAUSE = 30.0  # seconds
RETRIED = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    attempts: int = 6,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Make the file at `url` present at `path`.

    A file already there is checked and kept. Bytes are collected in `path` + ".part", which an
    interrupted download leaves behind and the next one goes on from (HTTP range); it becomes
    `path` by a rename once its length and its hex digests are right, of those that are given.
    An attempt fails, too, after `timeout` seconds without an answer. `attempts` in a row that bring
    no byte end the download; the pause before the second is `pause` seconds, and doubles each time.

    Raises:
        DataError: the address does not exist, the server keeps failing, another process is
            downloading the same file, or the checksum is wrong.
    """
    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url} is no http or https address; correct it")
    if path.exists():
        _check(path, url, sha256, md5)
        return
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as stream:
            if not take(stream.fileno(), part):
                raise DataError(
                    f"another process is downloading {part}; wait for it, then run again"
                )
            # What an earlier run left may be of another version of the file: once from zero.
            for last in (False, True) if stream.seek(0, 2) else (True,):
                _collect(url, stream, path, attempts, pause, timeout)
                try:
                    _check(part, url, sha256, md5)
                    break
                except DataError:
                    if last:
                        part.unlink()
                        raise
                    stream.truncate(0)
            part.replace(path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; free space or correct data_dir"
        ) from error


def home_for(root: Path, work_dir: Path) -> Path:
    """`root` where files can be made in it, else `work_dir`; for data_dir may be read-only."""
    try:
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError:
        return work_dir


def _collect(
    url: str, stream: BinaryIO, path: Path, attempts: int, pause: float, timeout: float
) -> None:
    """Append the rest of the file to `stream`, in as many attempts as it takes."""
    failures = 0
    while True:
        before = stream.seek(0, 2)
        try:
            _append(url, stream, path.name, timeout)
            return
        except urllib.error.HTTPError as error:
            if error.code not in RETRIED:
                raise DataError(
                    f"{url} answers {error.code} {error.reason}; fetch the file by other means "
                    f"and put it at {path}"
                ) from error
            problem, told = f"{error.code} {error.reason}", error.headers.get("Retry-After", "")
            wait = float(told) if told.isdigit() else 0.0
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (*NO_SPACE, errno.EROFS):
                raise
            problem, wait = str(error) or type(error).__name__, 0.0
        failures = failures + 1 if stream.seek(0, 2) <= before else 1
        if failures >= attempts:
            raise DataError(
                f"{url} could not be downloaded ({problem}, {attempts} attempts); run again to go "
                f"on from {stream.tell()} bytes, or put the file at {path} yourself"
            )
        time.sleep(min(max(wait, pause * 2 ** (failures - 1)), LONGEST_PAUSE))


def _append(url: str, stream: BinaryIO, name: str, timeout: float) -> None:
    """One request: go on behind the bytes in `stream`, or from zero if the server cannot."""
    from tqdm import tqdm  # planning does without

    start = stream.seek(0, 2)
    headers = {"User-Agent": "cseg", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # nothing is missing
        stream.truncate(0)
        raise http.client.HTTPException("the server cannot go on from here") from error
    with response:
        part = response.headers.get("Content-Range", "") if response.status == 206 else ""
        if not part.startswith(f"bytes {start}-"):
            start = 0
            stream.truncate(0)
            stream.seek(0)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        shown, step = start, max((total or 0) // 10, LINE)
        with tqdm(
            desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024,
            disable=None,
        ) as bar:  # fmt: skip
            while chunk := response.read1(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
                done = stream.tell()
                if bar.disable and (done - shown >= step or done == total):  # no terminal
                    of = f" of {total >> 20}" if total else ""
                    print(f"{name}: {done >> 20}{of} MiB", file=sys.stderr, flush=True)
                    shown = done
        stream.flush()
        if total is not None and stream.tell() != total:
            raise http.client.HTTPException(
                f"the connection ended after {stream.tell()} of {total} bytes"
            )


def _check(path: Path, url: str, sha256: str | None, md5: str | None) -> None:
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected.lower():
            raise DataError(
                f"{path.name} from {url} has {kind} {found} instead of {expected}; "
                f"delete {path} if it is there and run again, or check whether the source changed"
            )
