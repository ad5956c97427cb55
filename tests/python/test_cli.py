"""The command line, as a person or a script runs it."""

import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mcpgateway_rust
from mcpgateway_rust import Client, Limits
from support.hostile import (
    Connection,
    HostileServer,
    ReadHead,
    ReadRequest,
    Reset,
    Stall,
    answer,
    closed_port,
    echo,
    response,
)
from support.native_server import NativeServer, sha256
from support.process import environment
from support.source import source_bytes

MIB = 1 << 20
COMMAND = [sys.executable, "-m", "mcpgateway_rust.cli"]
COMMAND_SECONDS = 30.0
COMMANDS = ["invoke", "fetch", "serve", "doctor", "shm", "sweep", "calibrate"]


def run(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(),
        input=b"" if stdin is None else stdin,
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def assert_failed(finished: subprocess.CompletedProcess[bytes], *said: str) -> None:
    """The command ended with an error status and a message for a person, which says `said`."""
    error = finished.stderr.decode()
    assert finished.returncode not in {0, -6, -11}, error
    assert "Traceback" not in error
    assert "panicked" not in error
    assert [word for word in said if word not in error] == [], error


# ---- help


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_the_commands(option: str) -> None:
    finished = run(option)
    out = finished.stdout.decode()
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert [command for command in COMMANDS if command not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    finished = run(command, "--help")
    assert (finished.returncode, finished.stderr, command in finished.stdout.decode()) == (0, b"", True)


def test_the_version_is_that_of_the_package() -> None:
    finished = run("--version")
    assert (finished.returncode, mcpgateway_rust.__version__ in finished.stdout.decode()) == (0, True)


def test_the_installed_command_is_the_module() -> None:
    script = Path(sys.executable).with_name("mcpgateway-rust")
    finished = subprocess.run([script, "--help"], capture_output=True, timeout=COMMAND_SECONDS, check=False)
    assert (finished.returncode, finished.stdout) == (0, run("--help").stdout)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["invoke"], ["invoke", "--no-such-option"]])
def test_a_command_line_that_makes_no_sense_is_refused_with_usage(arguments: list[str]) -> None:
    finished = run(*arguments)
    assert (finished.returncode, b"Usage: mcpgateway-rust" in finished.stdout + finished.stderr) == (2, True)
    assert b"Traceback" not in finished.stderr


# ---- invoke


@pytest.mark.parametrize("size", [0, 1, 1_000, 20 * MIB])
def test_invoke_sends_a_file_and_prints_the_reply(size: int, tmp_path: Path, agent: NativeServer) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(size))
    finished = run("invoke", f"{agent.url}/echo", "--body", f"@{path}")
    assert (finished.returncode, finished.stdout) == (0, source_bytes(size))


def test_invoke_sends_text(agent: NativeServer) -> None:
    finished = run("invoke", f"{agent.url}/echo", "--body", '{"a": 1}')
    assert (finished.returncode, finished.stdout) == (0, b'{"a": 1}')


def test_invoke_sends_what_it_is_given_by_pipe(agent: NativeServer) -> None:
    finished = run("invoke", f"{agent.url}/sink", "--body", "@-", stdin=source_bytes(3 * MIB))
    assert json.loads(finished.stdout) == {"bytes": 3 * MIB, "sha256": sha256(source_bytes(3 * MIB))}


def test_invoke_sends_method_and_headers() -> None:
    with HostileServer(answer(b"ok")) as server:
        finished = run(
            "invoke", server.url, "--method", "PUT", "--header", "x-a: 1", "--header", "x-b:2", "--body", "text"
        )
        head = server.heads[0]
        sent = (head.method, head.header("x-a"), head.header("x-b"), server.bodies)
    assert (finished.returncode, finished.stdout, sent) == (0, b"ok", ("PUT", "1", "2", [b"text"]))


def test_invoke_writes_the_reply_to_a_file(tmp_path: Path, agent: NativeServer) -> None:
    path = tmp_path / "reply"
    finished = run("invoke", f"{agent.url}/source/{3 * MIB}", "--method", "GET", "--output", path)
    assert (finished.returncode, finished.stdout, path.read_bytes()) == (0, b"", source_bytes(3 * MIB))


def test_invoke_tells_a_script_what_happened(tmp_path: Path, agent: NativeServer) -> None:
    path = tmp_path / "body"
    path.write_bytes(source_bytes(3 * MIB))
    finished = run("invoke", f"{agent.url}/sink", "--body", f"@{path}", "--output", tmp_path / "reply", "--json")
    told: dict[str, Any] = json.loads(finished.stdout)
    assert (finished.returncode, told["status"], told["sent"]) == (0, 200, 3 * MIB)
    assert told["received"] == (tmp_path / "reply").stat().st_size


def test_no_progress_is_shown_where_nobody_looks(agent: NativeServer) -> None:
    finished = run("invoke", f"{agent.url}/echo", "--body", "text")
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_invoke_of_a_missing_file_says_so(tmp_path: Path, agent: NativeServer) -> None:
    assert_failed(run("invoke", f"{agent.url}/echo", "--body", f"@{tmp_path}/missing"), "missing")


def test_invoke_where_nobody_listens_says_so() -> None:
    port = closed_port()
    assert_failed(run("invoke", f"http://127.0.0.1:{port}/", "--body", "x"), f"127.0.0.1:{port}")


def test_invoke_of_a_url_without_a_scheme_says_what_to_write() -> None:
    assert_failed(run("invoke", "127.0.0.1:80/x", "--body", "x"), "http://")


def test_invoke_that_is_cut_off_says_so() -> None:
    with HostileServer([ReadRequest(), Reset()]) as server:
        assert_failed(run("invoke", server.url, "--body", "x"), f"127.0.0.1:{server.port}")


def test_invoke_of_a_status_that_is_no_success_prints_the_reply_and_fails() -> None:
    with HostileServer(answer(b"why", status="500 Broken")) as server:
        finished = run("invoke", server.url, "--body", "x")
    assert_failed(finished, "500")
    assert finished.stdout == b"why"


# ---- invoke --agent


def test_invoke_of_an_agent_prints_what_it_says_as_it_comes(agent: NativeServer) -> None:
    finished = run("invoke", "--agent", agent.url, "a text\nof two lines é")
    assert (finished.returncode, finished.stdout.decode(), finished.stderr) == (0, "a text\nof two lines é", b"")


def test_invoke_of_an_agent_sends_files_and_writes_what_it_says_to_one(tmp_path: Path, agent: NativeServer) -> None:
    path, output = tmp_path / "big.pdf", tmp_path / "said"
    path.write_bytes(source_bytes(3 * MIB))
    finished = run("invoke", "--agent", agent.url, "text", "--file", path, "--file", path, "-o", output, "--json")
    told: dict[str, Any] = json.loads(finished.stdout)
    assert (finished.returncode, told["state"], told["task_id"]) == (0, "completed", "reply")
    assert told["parts"] == [{"kind": "text", "filename": None, "bytes": 4}]
    assert (told["sent"] > 2 * 4 * MIB, output.read_bytes()) == (True, b"text")


def agent_without_streams(result: Any) -> Callable[[Connection], None]:
    """An agent whose card says that it has none, and that replies with `result`."""

    def scenario(connection: Connection) -> None:
        url = f"http://{connection.read_head().header('host')}"
        card = {"url": url, "protocolVersion": "0.3.0", "capabilities": {"streaming": False}}
        connection.send(response(json.dumps(card).encode()))
        connection.read_head()
        call = json.loads(connection.read_body())
        assert call["method"] == "message/send"
        connection.send(response(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode()))
        connection.drain()

    return scenario


def test_invoke_of_an_agent_that_has_no_streams_asks_for_all_at_once() -> None:
    message = {"kind": "message", "messageId": "m", "parts": [{"kind": "text", "text": "hello"}]}
    with HostileServer(agent_without_streams(message)) as server:
        finished = run("invoke", "-a", server.url, "hi")
    assert (finished.returncode, finished.stdout) == (0, b"hello")


def test_invoke_of_a_task_that_failed_says_so() -> None:
    with HostileServer(agent_without_streams({"kind": "task", "id": "t", "status": {"state": "failed"}})) as server:
        assert_failed(run("invoke", "-a", server.url, "hi"), "failed")


@pytest.mark.parametrize(
    ("status", "said"), [("401 Unauthorized", "--header"), ("404 Missing", "/.well-known/agent-card.json")]
)
def test_invoke_of_an_agent_says_what_can_be_done_about_a_status(status: str, said: str) -> None:
    with HostileServer(answer(b"", status=status)) as server:
        finished = run("invoke", "--agent", server.url, "hi")
    assert_failed(finished, said)
    assert (finished.returncode, finished.stderr.startswith(b"error: ")) == (1, True)


def test_invoke_of_an_agent_says_which_host_is_not_there() -> None:
    for url, said in (("http://nobody.invalid", "nobody.invalid"), (f"http://127.0.0.1:{closed_port()}", "refused")):
        finished = run("invoke", "--agent", url, "hi")
        assert_failed(finished, said)
        assert finished.returncode == 1


def test_a_call_that_fails_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "said"
    output.write_bytes(b"earlier")
    finished = run("invoke", "--agent", f"http://127.0.0.1:{closed_port()}", "hi", "-o", output)
    assert_failed(finished, "refused")
    assert (list(tmp_path.iterdir()), output.read_bytes()) == ([output], b"earlier")


def test_an_output_that_is_no_file_is_written_to_as_it_is(agent: NativeServer) -> None:
    finished = run("invoke", "--agent", agent.url, "hello", "-o", "/dev/stdout")
    assert (finished.returncode, finished.stdout) == (0, b"hello")


def test_an_output_that_cannot_be_is_a_wrong_command_line(tmp_path: Path, agent: NativeServer) -> None:
    for output in (tmp_path / "no" / "such", tmp_path):
        finished = run("invoke", "--agent", agent.url, "hi", "-o", output)
        assert_failed(finished, "--output")
        assert finished.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agent", "http://127.0.0.1:1"], "nothing to send"),
        (["just a text"], "--agent"),
        (["--agent", "127.0.0.1:1", "x"], "http://"),
        (["--agent", "http://127.0.0.1:1", "x", "--body", "y"], "--file"),
        (["--agent", "http://127.0.0.1:1", "--file", "/no/such/file"], "/no/such/file"),
        (["http://127.0.0.1:1", "--file", "/etc/passwd"], "--body"),
        (["--json"], "URL"),
    ],
)
def test_invoke_says_what_goes_with_what(arguments: list[str], said: str) -> None:
    finished = run("invoke", *arguments)
    assert_failed(finished, said)
    assert finished.returncode == 2


def test_invoke_shows_no_secret() -> None:
    canary = "canary-7f3a"
    url = f"http://user:{canary}@127.0.0.1:{closed_port()}/?token={canary}"
    finished = run("invoke", url, "--header", f"authorization: {canary}", "--body", canary)
    assert_failed(finished)
    assert canary.encode() not in finished.stderr + finished.stdout


def test_ctrl_c_ends_invoke_without_a_traceback() -> None:
    with HostileServer([ReadHead(), Stall()]) as server:
        program = subprocess.Popen(
            [*COMMAND, "invoke", server.url, "--body", "x"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        server.wait_for("stalled", timeout=COMMAND_SECONDS)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=COMMAND_SECONDS)
    assert (program.returncode in {130, -signal.SIGINT}, out, b"Traceback" in err) == (True, b"", False)


def test_a_reader_that_goes_away_is_no_traceback(agent: NativeServer) -> None:
    program = subprocess.Popen(
        [*COMMAND, "invoke", f"{agent.url}/source/{20 * MIB}", "--method", "GET"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.read(1_000)
    program.stdout.close()
    error = program.stderr.read()
    program.stderr.close()
    program.wait(COMMAND_SECONDS)
    assert b"Traceback" not in error


# ---- serve


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_well_when_asked(how: signal.Signals) -> None:
    with NativeServer() as server:
        assert server.stop(how) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_when_asked_with_a_connection_open(how: signal.Signals) -> None:
    with NativeServer() as server, socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.sendall(b"POST /sink HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf")
        assert server.stop(how) == 0


def test_serve_prints_its_url_alone() -> None:
    program = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    readable, _, _ = select.select([program.stdout], [], [], COMMAND_SECONDS)
    line = program.stdout.readline() if readable else b""
    program.send_signal(signal.SIGTERM)
    out, _ = program.communicate(timeout=COMMAND_SECONDS)
    assert (line.startswith(b"http://127.0.0.1:"), line.endswith(b"\n"), out, program.returncode) == (
        True,
        True,
        b"",
        0,
    )


def test_serve_on_a_port_in_use_says_so() -> None:
    with HostileServer(echo) as server:
        assert_failed(run("serve", "--port", server.port), str(server.port))


@pytest.mark.parametrize("arguments", [["--port", "99999"], ["--port", "x"], ["--host", "no host"]])
def test_serve_refuses_an_address_that_is_none(arguments: list[str]) -> None:
    assert_failed(run("serve", *arguments))


def test_serve_sends_more_than_memory_holds_as_it_makes_it(agent: NativeServer) -> None:
    with (
        Client(limits=Limits(max_response_bytes=1 << 41)) as client,
        client.stream("GET", f"{agent.url}/source/{1 << 40}") as reply,
    ):
        assert len(next(iter(reply.iter_bytes()))) > 0


@pytest.mark.parametrize("kind", ["text", "messages", "embeddings", "table"])
@pytest.mark.parametrize("size", [64, 1_000, 100_000, 5 * MIB])
def test_serve_makes_json_of_about_the_size_it_is_asked_for(kind: str, size: int, agent: NativeServer) -> None:
    finished = run("invoke", f"{agent.url}/json/{kind}/{size}", "--method", "GET")
    json.loads(finished.stdout)
    assert size <= len(finished.stdout) < size + 1024


# ---- doctor


def test_doctor_says_that_all_is_well() -> None:
    finished = run("doctor")
    assert (finished.returncode, b"Traceback" in finished.stderr, len(finished.stdout.splitlines()) > 3) == (
        0,
        False,
        True,
    )


def test_doctor_tells_a_script() -> None:
    finished = run("doctor", "--json")
    assert finished.returncode == 0
    assert isinstance(json.loads(finished.stdout), dict)


# ---- fetch


def test_a_resource_is_fetched_to_standard_output_or_a_file(agent: NativeServer, tmp_path: Path) -> None:
    url = f"{agent.url}/source/{3 * MIB}"
    assert run("fetch", url).stdout == source_bytes(3 * MIB)
    output = tmp_path / "resource"
    finished = run("fetch", url, "--output", output, "--json")
    assert (finished.returncode, output.read_bytes() == source_bytes(3 * MIB)) == (0, True)
    facts = json.loads(finished.stdout)
    assert (facts["received"], facts["came_from"]) == (3 * MIB, "network")


def test_a_file_is_fetched_below_its_root_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    uri = (tmp_path / "file").as_uri()
    assert run("fetch", uri, "--root", tmp_path).stdout == b"contents"
    assert_failed(run("fetch", uri), "not below a root")
    assert_failed(run("fetch", uri, "--root", tmp_path / "none"), "--root")
    assert_failed(run("fetch", "nowhere"), "data: URL")
