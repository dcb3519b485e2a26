"""The authors' released PyTorch checkpoints, fetched by model name."""

import http.client
import logging
import os
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout
from tqdm import tqdm

from harmony_jax.errors import InputError

BASE_ADDRESS = "https://github.com/saic-vul/image_harmonization/releases/download/v1.0"

# Model -> released file (the README of the released code).
FILES = {
    "deeplab_r34_idih256": "deeplab_idih256.pth",
    "hrnet18_idih256": "hrnet18_idih256.pth",
    "hrnet18_v2p_idih256": "hrnet18_v2p_idih256.pth",
    "hrnet18s_idih256": "hrnet18s_idih256.pth",
    "hrnet32_idih256": "hrnet32_idih256.pth",
    "improved_dih256": "idih256.pth",
    "improved_ssam256": "issam256.pth",
}

_TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 1 << 18

_LOGGER = logging.getLogger(__name__)

_Answer = http.client.HTTPResponse | urllib.error.HTTPError


def cache_folder() -> Path:
    """Where downloads are kept: `harmony_jax` in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "harmony_jax"


def download(name: str, folder: Path | None = None, base_address: str = BASE_ADDRESS) -> Path:
    """Fetches a released checkpoint, unless it is in the folder already.

    An interrupted download leaves FILE.part, which the next one continues if the server says that
    it still has the same file. If several processes want a file, one fetches it and the others
    wait. A bar on the terminal shows the progress.

    Args:
        name: a model that was released with weights, one of `FILES`.
        folder: where the file is kept; by default `cache_folder()`.
        base_address: http(s) address that the file's name is appended to.
    """
    if name not in FILES:
        raise InputError(f"no released checkpoint of {name!r}: choose one of {', '.join(FILES)}")
    if not base_address.startswith(("http://", "https://")):
        raise InputError(f"base address {base_address!r}: expected http://... or https://...")
    target = (folder or cache_folder()) / FILES[name]
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    notes = target.with_name(f"{target.name}.part.txt")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            if not target.is_file():  # another process may have been faster
                _fetch(f"{base_address.rstrip('/')}/{target.name}", part, notes)
                part.replace(target)
                notes.unlink()
    except OSError as error:  # network errors have become InputErrors
        raise InputError(
            f"{error.filename or part}: cannot be written ({error.strerror}): choose another "
            "cache folder"
        ) from error
    return target


def _locked(target: Path) -> AcquireReturnProxy:
    """Takes the lock of a file, until the end of a `with`."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        _LOGGER.warning("%s: another process is fetching it: waiting", target)
        return lock.acquire()


def _fetch(address: str, part: Path, notes: Path) -> None:
    """Completes `part`; `notes` holds the address and the validator of the file it belongs to."""
    known, _, validator = notes.read_text().partition("\n") if notes.exists() else ("", "", "")
    if known != address or not validator:
        part.unlink(missing_ok=True)
    start = part.stat().st_size if part.exists() else 0
    # If the file has changed, the server sends all of it.
    headers = {"Range": f"bytes={start}-", "If-Range": validator} if start else {}
    with _open(address, headers) as response:
        whole = response.status == http.HTTPStatus.OK
        sent = response.headers.get("Content-Range", "")
        if not whole and not sent.startswith(f"bytes {start}-"):
            if not start:
                raise InputError(
                    f"{address}: the server answered {response.status}: check the address"
                )
            part.unlink()
            _fetch(address, part, notes)
            return
        if whole:
            part.unlink(missing_ok=True)
            notes.write_text(f"{address}\n{_validator(response.headers)}")
        _receive(response, address, part)


def _open(address: str, headers: dict[str, str]) -> _Answer:
    """The server's answer; a range that begins at the end of the file gets status 416."""
    try:
        request = urllib.request.Request(address, headers=headers)
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error
        error.close()
        raise InputError(
            f"{address}: the server answered {error.code} {error.reason}: check the "
            "address, or try later"
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(
            f"{address}: no connection ({getattr(error, 'reason', error)}): check network "
            "and address, then run it again"
        ) from error


def _receive(response: _Answer, address: str, part: Path) -> None:
    """Appends the answer's body to `part`."""
    length = response.headers.get("Content-Length", "")
    with (
        part.open("ab") as file,
        tqdm(
            desc=part.stem,
            initial=file.tell(),
            total=file.tell() + int(length) if length.isdigit() else None,
            unit="B",
            unit_scale=True,
            disable=None,  # only on a terminal
        ) as bar,
    ):
        while chunk := _read(response, address):
            file.write(chunk)
            bar.update(len(chunk))
        if bar.total is not None and file.tell() != bar.total:
            raise _lost(address, f"after {file.tell()} of {bar.total} bytes")


def _read(response: _Answer, address: str) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _lost(address, str(error)) from error


def _lost(address: str, detail: str) -> InputError:
    return InputError(f"{address}: the connection was lost ({detail}): run it again to continue")


def _validator(headers: Message) -> str:
    """What identifies the same bytes, if anything does; weak tags do not."""
    tag = headers.get("ETag", "W/")
    return headers.get("Last-Modified", "") if tag.startswith("W/") else tag
