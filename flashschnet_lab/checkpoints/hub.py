"""Model folders on the Hugging Face Hub, by name: `hf:user/repo`, or `hf:user/repo@revision`.

    model = flashschnet_lab.load_model("hf:user/repo@v1")

Only the files of a model folder are downloaded, into huggingface_hub's own cache: JSON, safetensors
and the card. None of them can run code. Without a network, what is in the cache is taken, with a
warning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from flashschnet_lab.errors import UserError

_log = logging.getLogger(__name__)

PREFIX = "hf:"
FILES = (
    "model.json",
    "*.safetensors",
    "prior.json",
    "teacher.json",
    "validation.json",
    "training.png",
    "MODEL_CARD.md",
)
"""Patterns of what is downloaded: the files of a model folder (see `checkpoints.native`)."""
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
TIMEOUT = 10.0
"""Seconds after which a silent server is taken for one that cannot be reached."""
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


def is_on_hub(which: str | PurePath) -> bool:
    """Say whether a model is named as one on the Hub."""
    return str(which).startswith(PREFIX)


def fetch_model(
    which: str | PurePath, *, cache: Path | None = None, endpoint: str | None = None
) -> Path:
    """Return the folder of a model on the Hub, downloaded or from the cache.

    Args:
        which: "hf:user/repo", or "hf:user/repo@revision" with a branch, tag or commit.
        cache: of huggingface_hub; default its own.
        endpoint: address of the server; default huggingface_hub's.

    Raises:
        UserError: huggingface_hub is missing, the name is none, there is no such repository or
            revision, it holds no model folder, or it is neither within reach nor in the cache.
    """
    repository, revision = parse_name(which)
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub import errors as hub_errors
    except ImportError as error:
        raise UserError(
            f'{which} is on the Hugging Face Hub: pip install "flashschnet-lab[hub]"'
        ) from error

    online = False
    try:
        found = HfApi(endpoint=endpoint).repo_info(repository, revision=revision, timeout=TIMEOUT)
        online = True
        _check_files(repository, [file.rfilename for file in found.siblings or ()])
    except hub_errors.RevisionNotFoundError as error:
        raise UserError(f"{repository} on the Hub has no revision {revision!r}") from error
    except hub_errors.GatedRepoError as error:
        raise UserError(
            f"{repository} asks its readers to agree to terms: do so on its page on the Hub, then "
            "log in with: hf auth login"
        ) from error
    except hub_errors.RepositoryNotFoundError as error:
        raise UserError(
            f"there is no model {repository} on the Hub, or it is private: check the name, or log "
            "in with: hf auth login"
        ) from error
    except UserError:
        raise
    except Exception as error:  # releases of huggingface_hub differ in what a network raises
        _log.warning("the Hub cannot be reached (%s); looking in its cache", _first_line(error))
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            endpoint=endpoint,
            allow_patterns=list(FILES),
            etag_timeout=TIMEOUT,
            local_files_only=not online,
        )
    except hub_errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{which} is not in the cache and the Hub cannot be reached: go online once, or copy "
            "the model folder here and name it instead"
        ) from error
    except Exception as error:
        raise UserError(
            f"{which} could not be downloaded ({_first_line(error)}); try again"
        ) from error
    if not online:
        _check_files(repository, [path.name for path in Path(folder).iterdir()])
    return Path(folder)


def parse_name(which: str | PurePath) -> tuple[str, str | None]:
    """Return repository and revision (None: the newest) of "hf:user/repo@revision".

    Raises:
        UserError: a name that reads otherwise.
    """
    text = which.as_posix() if isinstance(which, PurePath) else which
    match = _NAME.fullmatch(text.removeprefix(PREFIX))
    if match is None or not text.startswith(PREFIX):
        raise UserError(
            f"{text!r} is no model on the Hub: they read hf:user/repo or hf:user/repo@revision"
        )
    return match[1], match[2]


def _check_files(repository: str, names: Sequence[str]) -> None:
    """Refuse a repository without a model folder, and say what to do with a pickle."""
    if "model.json" in names:
        return
    pickle = next((name for name in names if name.endswith(PICKLES)), None)
    if pickle is None:
        raise UserError(f"{repository} holds no model folder: it has no model.json")
    raise UserError(
        f"{repository} holds no model folder but {pickle}, a pickle, which is not downloaded "
        "because it can run code: download it yourself, then make a model folder of it with: "
        f"flashschnet import {PurePath(pickle).name}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
