"""Models on the Hugging Face Hub: its cache as it lies on a disk, and a Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

import huggingface_hub.constants

import flashschnet_lab as fl
from flashschnet_lab.checkpoints.hub import fetch_model, is_on_hub, parse_name
from flashschnet_lab.checkpoints.native import save_model
from flashschnet_lab.cli import main
from flashschnet_lab.errors import UserError
from tests.tiny_system import tiny_system

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOBODY = "http://127.0.0.1:9"
"""Where no server listens."""


@pytest.fixture(scope="module")
def model():
    return tiny_system().model


def cached(cache: Path, model, *, pickle_only: bool = False) -> Path:
    """Lay a model out as huggingface_hub caches it and return its snapshot."""
    repository = cache / "models--user--repo"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    if pickle_only:
        (snapshot / "model_and_prior.pt").write_bytes(b"\x80\x04.")
        return snapshot
    made = cache / "made"
    save_model(model, made)
    blobs = repository / "blobs"
    blobs.mkdir()
    for path in made.iterdir():
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


class Hub(ThreadingHTTPServer):
    """A Hub with one repository; notes which files were asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files = files
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, files = unquote(urlsplit(self.path).path), self.server.files
        if "/user/repo" not in path:
            return self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if "/revision/" in path and not path.endswith(("/main", COMMIT)):
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if "/tree/" in path:
            listing = [
                {"type": "file", "path": name, "size": len(data), "oid": _sha(data)}
                for name, data in files.items()
            ]
            return self.answer(200, json.dumps(listing).encode())
        if "/resolve/" in path:
            name = path.rsplit("/", 1)[1]
            self.server.asked.append(name)
            headers = {"ETag": f'"{_sha(files[name])}"', "X-Repo-Commit": COMMIT}
            return self.answer(200, files[name], headers)
        siblings = [{"rfilename": name} for name in files]
        information = {"id": "user/repo", "sha": COMMIT, "siblings": siblings, "tags": []}
        self.answer(200, json.dumps(information).encode())

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _sha(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub(model, tmp_path):
    save_model(model, tmp_path / "served")
    files = {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    files |= {"old.pt": b"\x80\x04.", "run.py": b"print()", "MODEL_CARD.md": b"# a model"}
    with Hub(files) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_cached_model_needs_no_network(model, tmp_path, revision, caplog):
    snapshot = cached(tmp_path, model)
    folder = fetch_model(f"hf:user/repo{revision}", cache=tmp_path, endpoint=NOBODY)
    assert folder == snapshot and "cannot be reached" in caplog.text
    assert fl.load_model(folder).digest == model.digest


def test_load_model_and_the_command_line_take_its_name(model, tmp_path, monkeypatch, capsys):
    snapshot = cached(tmp_path, model)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(snapshot))
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", _unreachable)
    assert fl.load_model("hf:user/repo").digest == model.digest
    system = fl.load_system(tiny_system().protein, "hf:user/repo")
    assert system.model.folder == snapshot
    short = ["--steps", "2", "--replicas", "1", "--plan", "reference", "--device", "cpu"]
    run = ["simulate", "--sequence", "AGPWYK", "--model", "hf:user/repo", *short]
    with pytest.raises(SystemExit) as ending:
        main([*run, "--out", str(tmp_path / "run")])
    assert not ending.value.code and "moved by tiny" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ending:
        main(["compile", "hf:user/repo", "--protein", "chignolin"])
    assert ending.value.code == 2 and "nothing is written" in capsys.readouterr().err


def _unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route to host")


def test_neither_cached_nor_within_reach(tmp_path):
    with pytest.raises(UserError, match="not in the cache.*go online once, or copy"):
        fetch_model("hf:user/repo", cache=tmp_path, endpoint=NOBODY)


def test_only_the_files_of_a_model_folder_are_downloaded(hub, model, tmp_path):
    cache = tmp_path / "cache"
    folder = fetch_model("hf:user/repo", cache=cache, endpoint=hub.address)
    there = {"model.json", "prior.json", "network.safetensors", "MODEL_CARD.md"}
    assert {path.name for path in folder.iterdir()} == there == set(hub.asked)
    assert fl.load_model(folder).digest == model.digest
    assert fetch_model("hf:user/repo", cache=cache, endpoint=NOBODY) == folder  # offline later


def test_a_repository_that_holds_a_pickle_only(hub, model, tmp_path):
    expected = "old.pt, a pickle.*flashschnet import old.pt"
    del hub.files["model.json"]
    with pytest.raises(UserError, match=expected):
        fetch_model("hf:user/repo", cache=tmp_path / "cache", endpoint=hub.address)
    assert hub.asked == []
    cached(tmp_path, model, pickle_only=True)
    with pytest.raises(UserError, match="model_and_prior.pt, a pickle.*flashschnet import"):
        fetch_model("hf:user/repo", cache=tmp_path, endpoint=NOBODY)
    hub.files.pop("old.pt")
    with pytest.raises(UserError, match=r"no model folder: it has no model\.json"):
        fetch_model("hf:user/repo", cache=tmp_path / "cache", endpoint=hub.address)


def test_no_such_repository_or_revision(hub, tmp_path):
    with pytest.raises(UserError, match="no revision 'v9'"):
        fetch_model("hf:user/repo@v9", cache=tmp_path, endpoint=hub.address)
    with pytest.raises(UserError, match="no model user/other on the Hub"):
        fetch_model("hf:user/other", cache=tmp_path, endpoint=hub.address)


def test_names():
    assert parse_name("hf:user/repo") == ("user/repo", None)
    assert parse_name(Path("hf:user/re.po-1@refs/pr/2")) == ("user/re.po-1", "refs/pr/2")
    assert is_on_hub("hf:a/b") and not is_on_hub(Path("models/hf"))
    for wrong in ("hf:repo", "hf:user/repo@", "hf:user/repo/file", "hf:", "hf:../../x", "hf:a b/c"):
        with pytest.raises(UserError, match="hf:user/repo@revision"):
            parse_name(wrong)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"flashschnet-lab\[hub\]"):
        fl.load_model("hf:user/repo")
