"""Structures of the PDB, from a server on this machine that can misbehave."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gemmi
import pytest

from flashschnet_lab.cli import main
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.proteins import fetch
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.fetch import fetch_structure
from flashschnet_lab.proteins.mdtraj_io import write_pdb


class Bank(ThreadingHTTPServer):
    """Serves `files` by path; counts requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, bytes] = {}
        self.behaviour = ""
        self.requests = 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Bank

    def do_GET(self) -> None:
        bank = self.server
        bank.requests += 1
        data = bank.files.get(self.path)
        if bank.behaviour.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", bank.behaviour.removeprefix("redirect "))
            self.end_headers()
            return
        if data is None or bank.behaviour == "broken":
            self.send_error(404 if data is None else 503)
            return
        if bank.behaviour == "silent":
            bank.woken.wait(5.0)
            return
        self.send_response(200)
        if bank.behaviour != "no length":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        short = bank.behaviour in ("truncated", "no length")
        self.wfile.write(data[: len(data) // 2] if short else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def chignolin(tmp_path_factory) -> dict[str, bytes]:
    """The same structure as the PDB gives it in both formats: header first, end mark last."""
    path = tmp_path_factory.mktemp("made") / "5awl.pdb"
    write_pdb(path, embedded_protein("chignolin").protein)
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.name = "5AWL"
    cif = structure.make_mmcif_document().as_string().encode()
    return {"cif": cif.rstrip() + b"\n# \n", "pdb": b"HEADER    5AWL\n" + path.read_bytes()}


@pytest.fixture
def bank(chignolin):
    with Bank() as server:
        server.woken = threading.Event()
        server.files = {f"/5AWL.{name}": data for name, data in chignolin.items()}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.woken.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def get(bank, tmp_path):
    """Fetch 5AWL from the bank into a cache of the test."""

    def fetched(identifier: str = "5AWL", **options) -> Path:
        options = {"base_url": bank.address, "cache": tmp_path / "cache", **options}
        return fetch_structure(identifier, **options)

    return fetched


@pytest.mark.parametrize("format", ["cif", "pdb"])
def test_a_structure_is_downloaded_once_and_can_be_simulated(get, bank, chignolin, format):
    path = get("5awl", format=format)
    assert path.read_bytes() == chignolin[format] and path.name == f"5AWL.{format}"
    words = path.with_name(path.name + ".sha256").read_text().split()
    assert words == [hashlib.sha256(chignolin[format]).hexdigest(), path.name]
    assert get("pdb_00005AWL", format=format) == path and bank.requests == 1
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + ".sha256"}
    assert load_system(path).protein.sequence == embedded_protein("chignolin").protein.sequence


def test_a_file_that_changed_in_the_cache_is_not_used(get, bank, chignolin):
    path = get()
    path.write_bytes(chignolin["cif"] + b"#")
    with pytest.raises(UserError, match=r"SHA-256 differs.*flashschnet fetch 5AWL --again"):
        get()
    assert get(again=True).read_bytes() == chignolin["cif"] and bank.requests == 2
    path.with_name(path.name + ".sha256").unlink()
    assert get() == path and bank.requests == 3  # never trusted without its checksum


@pytest.mark.parametrize(
    "behaviour, options, message",
    [
        ("truncated", {}, r"broke off after \d+ of \d+ bytes"),
        ("no length", {}, "no complete cif file"),
        ("no length", {"format": "pdb"}, "no complete pdb file"),
        ("broken", {}, "answers 503"),
        ("silent", {"timeout": 0.2}, "cannot be reached.*timed out"),
        ("redirect http://127.0.0.1/5AWL.cif", {}, "which is not https: refused"),
        ("redirect file:///etc/passwd", {}, "answers 302.*not allowed"),
        ("redirect /5AWL.pdb", {}, "which is not https: refused"),
        ("", {"max_bytes": 100}, "larger than 0.0001 MB"),
        ("no length", {"max_bytes": 100}, "larger than 0.0001 MB"),
    ],
)
def test_what_is_not_the_whole_file_leaves_nothing(
    get, bank, tmp_path, behaviour, options, message
):
    bank.behaviour = behaviour
    with pytest.raises(UserError, match=message):
        get(**options)
    assert list((tmp_path / "cache").iterdir()) == []
    bank.behaviour = ""
    before = get()
    bank.behaviour = "truncated"
    with pytest.raises(UserError):
        get(again=True)
    assert get() == before  # the old file stays, with its checksum


def test_a_redirection_to_https_is_followed(get, bank):
    bank.behaviour = f"redirect {bank.address.replace('http', 'https')}/5AWL.cif"
    with pytest.raises(UserError, match="cannot be reached.*SSL"):  # the bank speaks no https
        get()


def test_no_such_entry(get, bank):
    with pytest.raises(UserError, match="has no 9ZZZ.cif: check the entry 9ZZZ$"):
        get("9ZZZ")
    with pytest.raises(UserError, match=r"has no 9ZZZ.pdb.*try --format cif"):
        get("9ZZZ", format="pdb")
    asked = bank.requests
    for wrong in ("", "chignolin", "../x", "1EN", "1ENH.cif", "AENH", "1EN/", "1ENé"):
        with pytest.raises(UserError, match="like 1ENH"):
            get(wrong)
    with pytest.raises(UserError, match="known: cif, pdb"):
        get(format="mmtf")
    assert bank.requests == asked


def test_another_page_is_no_structure(get, bank):
    bank.files["/5AWL.cif"] = b"<html>Please log in to the airport's network</html>"
    with pytest.raises(UserError, match="no complete cif file"):
        get()


def test_offline_it_says_what_to_do(get):
    with pytest.raises(UserError, match=r"127.0.0.1:9 cannot be reached.*refused.*--pdb$"):
        get(base_url="http://127.0.0.1:9")


def test_the_command(get, bank, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fetch_structure.__kwdefaults__, "base_url", bank.address)
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "kept here")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ending:
            main(["fetch", *arguments])
        return (ending.value.code or 0, *capsys.readouterr())

    code, out, _ = run("5awl")
    path, then = out.splitlines()
    assert code == 0 and Path(path) == tmp_path / "kept here/5AWL.cif" and Path(path).is_file()
    assert then == f"simulate it: flashschnet simulate --pdb '{path}'"
    assert run("5AWL", "-o", "mine.pdb")[1].endswith("--pdb mine.pdb\n")
    assert Path("mine.pdb").read_bytes() == bank.files["/5AWL.pdb"]
    for arguments, message in (
        (["5AWL", "-o", "mine.pdb"], "mine.pdb exists"),
        (["5AWL", "-o", "mine.xyz"], ".cif or .pdb"),
        (["5AWL", "-o", "new.pdb", "--format", "cif"], "contradict"),
        (["9ZZZ"], "check the entry 9ZZZ"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and message in err and err.count("\n") == 1
    assert run("5AWL", "-o", "mine.pdb", "--force")[0] == 0
