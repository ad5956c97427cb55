"""Thresholds that were measured on a machine: from a file, by name or by the environment, to what is decided."""

import json
from pathlib import Path

import pytest

from mcpgateway_rust import TransferPolicy
from mcpgateway_rust.exceptions import Denied, FileError, InvalidOption
from support.process import run_python

VARIABLE = "MCPGATEWAY_RUST_TRANSFER_POLICY"
KIB, MIB = 1 << 10, 1 << 20

DECIDED = """
    from mcpgateway_rust import Client, Payload, TransferPolicy
    from support.native_server import NativeServer
    from mcpgateway_rust.services.a2a_service import A2AClient

    with NativeServer() as server, Client() as client, A2AClient(server.url + "/echo") as agent:
        print(TransferPolicy.default(), Payload(bytes(100 << 10)).transfer.kind, sep="; ", end="; ")
        print(client.post(server.url + "/sink", bytes(100 << 10)).transfer.kind, end="; ")
        print(agent.invoke(bytes(100 << 10)).transfer.kind)
"""


def policy_file(directory: Path, **thresholds: object) -> Path:
    path = directory / "policy.json"
    path.write_text(json.dumps(thresholds))
    return path


def test_a_file_of_thresholds_is_loaded(tmp_path: Path) -> None:
    path = policy_file(tmp_path, copy_below=MIB, map_above=4 * MIB, measured="whatever else there is")
    loaded = TransferPolicy.load(path)
    assert loaded == TransferPolicy(copy_below=MIB, map_above=4 * MIB)
    assert (loaded.decide(100 * KIB).kind, TransferPolicy().decide(100 * KIB).kind) == ("copy", "borrow")
    assert TransferPolicy.load(str(path)) == loaded


def test_the_file_that_the_environment_names_is_the_default_of_everything(tmp_path: Path) -> None:
    path = policy_file(tmp_path, copy_below=MIB, map_above=4 * MIB)
    plain, measured = run_python(DECIDED), run_python(DECIDED, env={VARIABLE: str(path)})
    assert (plain.stdout, plain.stderr) == (
        "copy below 64.0 KiB, borrow from there on, map replies from 10.0 MiB on; borrow; borrow; borrow\n",
        "",
    )
    assert (measured.stdout, measured.stderr) == (
        "copy below 1.0 MiB, borrow from there on, map replies from 4.0 MiB on; copy; copy; copy\n",
        "",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is damaged; run `mcpgateway-rust calibrate`"),
        ('{"copy_below": 1', "the file is damaged; run `mcpgateway-rust calibrate`"),
        ('{"copy_below": 1}', "map_above is not there as a whole number of bytes, 0 or more"),
        ('{"copy_below": "1", "map_above": 1}', "copy_below is not there as a whole number of bytes, 0 or more"),
        ('{"copy_below": -1, "map_above": 1}', "copy_below is not there as a whole number of bytes, 0 or more"),
        ("[]", "copy_below is not there as a whole number of bytes, 0 or more"),
        (" " * (2 * MIB), "2097152 bytes are no file of thresholds; run `mcpgateway-rust calibrate`"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(InvalidOption) as raised:
        TransferPolicy.load(path)
    assert str(raised.value).startswith(f"transfer policy {path}: {said}")


def test_what_is_no_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        TransferPolicy.load(tmp_path / "missing.json")
    with pytest.raises(Denied):
        TransferPolicy.load(tmp_path)


def test_a_damaged_file_in_the_environment_is_an_error_of_whoever_needs_it(tmp_path: Path) -> None:
    path = policy_file(tmp_path, copy_below=None)
    program = """
        from mcpgateway_rust import Client, TransferPolicy
        from mcpgateway_rust.exceptions import InvalidOption
        for call in (TransferPolicy.default, Client):
            try:
                call()
            except InvalidOption as error:
                print(error)
    """
    done = run_python(program, env={VARIABLE: str(path)})
    said = f"{VARIABLE}: transfer policy {path}: copy_below is not there as a whole number of bytes, 0 or more\n"
    assert (done.stdout, done.stderr) == (said * 2, "")
