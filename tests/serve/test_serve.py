"""`python -m serve` as a person meets it: a URL, a clean end, and one line when something is wrong."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from rehearsal import processes
from rehearsal.ports import free_port
from serve.service import HOST, MARK, STEADY_SECONDS
from tests.serve.conftest import MODEL, ROOT, wait_for

pytestmark = pytest.mark.process


def command(folder, *arguments, **environment):
    whole = [sys.executable, "-m", "serve", "--folder", str(folder), *arguments]
    return subprocess.Popen(
        whole, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@contextlib.contextmanager
def started(folder, port=None):
    """A process of the command, and nothing of it afterwards."""
    process = command(folder, "--port", str(port or free_port()))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        processes.end(folder, MARK)


@contextlib.contextmanager
def serving(folder, port=None):
    """A process that says it serves, and what it said until then."""
    with started(folder, port) as process:
        said = ""
        while "\ncurl " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield process, said


def refused(folder, *arguments, **environment):
    """Returns the last line of a refused call, and checks that no process is left running."""
    process = command(folder, *arguments, **environment)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert processes.marked(folder, MARK) == {}
    return said.splitlines()[-1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One service for the tests that leave it as it is: its process, its folder and what it said."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder) as (process, said):
        yield process, folder, said


def test_the_curl_line_answers(shared):
    _, folder, said = shared
    assert len(processes.marked(folder, MARK)) == 4
    [curl] = [line for line in said.splitlines() if line.startswith("curl ")]
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(answer)["choices"][0]["text"]


def test_every_difference_from_the_pods_is_printed(shared):
    _, folder, said = shared
    for line in processes.marked(folder, MARK).values():
        if "llama-server" in line:
            [port] = re.findall(r"--port (\d+)", line)
            assert f"pipelines zig-ai-shard-leaders.zig-ai.svc.cluster.local -> 127.0.1.*:{port}  (" in said
    assert re.search(rf"--model /data/llama-2-7b-\w+/model\.gguf -> {MODEL}  \(", said)
    assert "--n-gpu-layers all -> 0  (no GPU is used)" in said


def test_two_runs_do_not_share_a_folder(shared):
    _, folder, _ = shared
    process = command(folder, "--port", str(free_port()))
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert said == f"serve: another service is running from {folder}: stop it, or choose another folder with --folder\n"
    assert len(processes.marked(folder, MARK)) == 4, "the first one was not touched"


def test_a_server_that_dies_is_started_again(shared):
    process, folder, _ = shared
    first = min(pid for pid, line in processes.marked(folder, MARK).items() if "llama-server" in line)
    time.sleep(STEADY_SECONDS)  # one that dies sooner is not started again
    os.kill(first, signal.SIGKILL)
    assert process.stdout.readline().strip() == ""
    assert re.fullmatch(r"  pipeline \d: ended with signal SIGKILL, started again\n", process.stdout.readline())
    wait_for(lambda: len(processes.marked(folder, MARK)) == 4, 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_is_clean(tmp_path, number):
    with serving(tmp_path) as (process, _):
        process.send_signal(number)
        rest = process.communicate(timeout=20)[0]
        assert process.returncode == 0
        assert rest.splitlines()[-1] == "stopped; no process is left running"
        assert processes.marked(tmp_path, MARK) == {}


def test_an_end_while_it_starts_is_clean_too(tmp_path):
    with started(tmp_path) as process:
        wait_for(lambda: processes.marked(tmp_path, MARK), 20)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0].splitlines()[-1] == "stopped; no process is left running"
        assert process.returncode == 0
        assert processes.marked(tmp_path, MARK) == {}


def test_what_a_killed_run_left_is_ended_by_the_next(tmp_path):
    """On the same port, which the coordinator left behind still holds."""
    port = free_port()
    with serving(tmp_path, port) as (process, _):
        process.kill()
        process.wait()
        left = processes.marked(tmp_path, MARK)
        assert len(left) == 4
        with serving(tmp_path, port) as (_, said):
            assert "stopped 4 processes that an earlier run left behind" in said
            assert not set(left) & set(processes.marked(tmp_path, MARK))


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert (
        said
        == f"serve: port {port} is in use: stop the program that listens there, or choose another port with --port (make serve PORT=...)"
    )


def test_a_missing_model_is_one_line(tmp_path):
    assert refused(tmp_path, "--model", "/nowhere/model.gguf") == "serve: the model file /nowhere/model.gguf does not exist"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lambda: MODEL.read_bytes()[:20_000_000], "is not within the file bounds, model is corrupted or incomplete"),
        (lambda: b"not a model", "invalid magic characters"),
        (lambda: MODEL.read_bytes().replace(b"llama", b"camel", 1), "unknown model architecture: 'camel'"),
    ],
    ids=["truncated", "no GGUF", "another architecture"],
)
def test_a_bad_model_file_is_one_line_with_the_server_s_words(tmp_path, content, why):
    file = tmp_path / "bad.gguf"
    file.write_bytes(content())
    said = refused(tmp_path, "--model", str(file), "--port", str(free_port()))
    assert said.startswith(f"serve: pipeline 0, loading {file}, ended with status 1: ")
    assert why in said
    assert said.endswith(f"; log: {tmp_path}/logs/pipeline-0.log")


def test_a_program_that_is_not_there_is_one_line(tmp_path):
    said = "serve: llama-server, envoy are not on PATH: `make serve` installs them and puts them there"
    assert refused(tmp_path, PATH="/nowhere") == said


def test_a_stack_that_the_planner_refuses_is_told_in_its_words(tmp_path):
    """prod's GPUs cannot hold its model with this engine; nothing is started in its place."""
    assert refused(tmp_path, "--stack", "prod") == "    fix: model.quantization.precision: int4"


def test_the_programs_are_there():
    """Else the tests above would prove little."""
    assert all(shutil.which(program) for program in ("llama-server", "envoy", "curl"))
