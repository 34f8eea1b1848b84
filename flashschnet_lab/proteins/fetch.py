"""Structures from the Protein Data Bank, kept in the user's cache folder with a checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from flashschnet_lab.errors import UserError

PDB = "https://files.rcsb.org/download"
FORMATS = ("cif", "pdb")
MAX_BYTES = 200_000_000
"""Larger files are not taken: no molecule that can be simulated needs one."""
TIMEOUT = 30.0
"""Seconds without an answer after which a server is given up."""
PATIENCE = 600.0
"""Seconds after which a download is given up, however steadily it drips."""
_CHUNK = 1 << 16
_IDENTIFIER = re.compile(r"(?:pdb_0000)?([1-9][a-z0-9]{3})", re.ASCII | re.IGNORECASE)
# How a complete file begins, and how its last line does.
_FIRST = {"cif": b"data_", "pdb": b"HEADER"}
_LAST = {"cif": b"#", "pdb": b"END"}


def fetch_structure(
    identifier: str,
    *,
    format: str = "cif",
    again: bool = False,
    cache: Path | None = None,
    base_url: str = PDB,
    timeout: float = TIMEOUT,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Return the file of an entry of the PDB, from the cache or downloaded into it.

    Beside it lies its SHA-256, with which later calls check it. The file appears when it is
    complete, and not before.

    Args:
        identifier: "1ENH", or the long form "pdb_00001enh".
        format: "cif" (every entry has it) or "pdb" (large entries do not).
        again: download it even if it is in the cache.
        cache: folder; default `structures` in the user's cache folder of this platform.
        base_url: where BASE/1ENH.cif is.
        timeout: seconds without an answer after which the server is given up.
        max_bytes: a larger file is refused.

    Raises:
        UserError: no identifier or format, no such entry, no server within reach, an incomplete or
            too large answer, or a file in the cache that has changed since it was downloaded.

    Example:
        >>> import flashschnet_lab as fl
        >>> system = fl.load_system(fetch_structure("1ENH"))
    """
    match = _IDENTIFIER.fullmatch(identifier.strip())
    if match is None:
        raise UserError(
            f"{identifier!r} is no identifier of the PDB: these have a digit and three letters or "
            "digits, like 1ENH"
        )
    if format not in FORMATS:
        raise UserError(f"format {format!r} is unknown; known: {', '.join(FORMATS)}")
    path = (cache or cache_folder()) / f"{match[1].upper()}.{format}"
    checksum = path.with_name(path.name + ".sha256")
    if path.is_file() and checksum.is_file() and not again:
        if _sha256(path) != checksum.read_text(encoding="ascii", errors="replace")[:64]:
            raise UserError(
                f"{path} is not the file that was downloaded (SHA-256 differs); fetch it anew "
                f"with: flashschnet fetch {match[1].upper()} --again"
            )
        return path
    url = f"{base_url.rstrip('/')}/{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            new = Path(folder) / path.name
            with new.open("wb") as file:
                _download(url, file, timeout, max_bytes)
            _check_complete(new, format, url)
            line = Path(folder) / checksum.name
            line.write_text(f"{_sha256(new)}  {path.name}\n", encoding="ascii")
            # In this order a file without a checksum may be left over, which is fetched anew, and
            # never one with the checksum of another.
            checksum.unlink(missing_ok=True)
            os.replace(new, path)
            os.replace(line, checksum)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error})") from error
    return path


def copy_structure(source: Path, destination: Path, *, force: bool = False) -> None:
    """Copy a structure file out of the cache.

    Args:
        source: what `fetch_structure` returned.
        destination: file to write.
        force: overwrite a file that exists.

    Raises:
        UserError: it exists, or cannot be written.
    """
    if destination.exists() and not force:
        raise UserError(f"{destination} exists; choose another name, or overwrite it with --force")
    try:
        shutil.copyfile(source, destination)
    except OSError as error:
        raise UserError(f"cannot write {destination} ({error.strerror or error})") from error


def cache_folder() -> Path:
    """Return where structures are kept: in the user's cache folder of this platform.

    Raises:
        UserError: the package that knows the platform is not installed.
    """
    try:
        from platformdirs import user_cache_dir
    except ImportError as error:
        raise UserError(
            "structures are kept in the user's cache folder, and platformdirs finds it: "
            "pip install platformdirs"
        ) from error

    return Path(user_cache_dir("flashschnet-lab", appauthor=False)) / "structures"


class _OnlyToHttps(HTTPRedirectHandler):
    """Follows a redirection to https, and to nothing else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        target = urljoin(req.full_url, newurl)
        if urlsplit(target).scheme != "https":
            raise UserError(f"{req.full_url} redirects to {target}, which is not https: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, file: IO[bytes], timeout: float, max_bytes: int) -> None:
    """Write what is at an address into a file.

    Raises:
        UserError: it is not there, not all of it came, or it is too large.
    """
    host, name = urlsplit(url).netloc, url.rsplit("/", 1)[1]
    entry, format = name.split(".")
    try:
        answer = build_opener(_OnlyToHttps()).open(Request(url), timeout=timeout)
        with answer:
            expected = int(answer.headers.get("Content-Length") or -1)
            received = _copy(answer, file, expected, max_bytes, name)
    except HTTPError as error:
        if error.code in (404, 410):
            other = "" if format == "cif" else "; a large one has no .pdb: try --format cif"
            raise UserError(f"{host} has no {name}: check the entry {entry}{other}") from error
        raise UserError(
            f"{host} answers {error.code} ({error.reason}) for {name}; try again later"
        ) from error
    except http.client.HTTPException as error:
        raise UserError(f"the download of {name} broke off ({error!r}); try again") from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{host} cannot be reached ({reason}): go online, or get {PDB}/{name} on another "
            "machine and give that file to flashschnet simulate --pdb"
        ) from error
    if received < expected:
        raise UserError(
            f"the download of {name} broke off after {received} of {expected} bytes; try again"
        )


def _copy(answer: Any, file: IO[bytes], expected: int, max_bytes: int, name: str) -> int:
    """Copy an answer into a file and return how long it was."""
    begun, received = time.monotonic(), 0
    if expected > max_bytes:
        raise UserError(_too_large(name, max_bytes))
    while chunk := answer.read(_CHUNK):
        received += len(chunk)
        if received > max_bytes:
            raise UserError(_too_large(name, max_bytes))
        if time.monotonic() - begun > PATIENCE:
            raise UserError(f"{name} was not there after {PATIENCE:g} seconds; try again")
        try:
            file.write(chunk)
        except OSError as error:  # not the network's
            raise UserError(f"cannot write {name} to the cache ({error.strerror})") from error
    return received


def _too_large(name: str, max_bytes: int) -> str:
    return (
        f"{name} is larger than {max_bytes / 1e6:g} MB and was not taken; it is no single protein"
    )


def _check_complete(path: Path, format: str, url: str) -> None:
    """Refuse what does not begin and end as a structure does: a proxy's page, half a file."""
    data = path.read_bytes()
    last = data.rstrip().rsplit(b"\n", 1)[-1]
    if not data.lstrip().startswith(_FIRST[format]) or not last.startswith(_LAST[format]):
        raise UserError(
            f"what {url} sent is no complete {format} file; try again, or look at the address in a "
            "browser"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
