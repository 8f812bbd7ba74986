"""The command line: help, exit codes, plugins, and what is imported for it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest
import yaml

from lictor.cli import exits
from lictor.cli import main as main_module
from lictor.cli.main import BUILT_IN, main
from lictor.config.load import parse_settings
from lictor.config.settings import Settings
from lictor.errors import ForbiddenError, LictorError, SettingsError

_HELP = [
    (),
    ("config",),
    ("config", "print"),
    ("test",),
    ("audit",),
    ("audit", "verify"),
    ("keys",),
    ("keys", "init"),
    ("gate",),
    ("gate", "run"),
    ("gate", "uninstall"),
    ("enforcer",),
    ("enforcer", "run"),
]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the programs as an installed distribution does."""
    _offer(
        monkeypatch,
        gate="admission.app:add_commands",
        enforcer="enforcer.app:add_commands",
    )


def _offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    found = [EntryPoint(name=n, value=v, group=main_module.GROUP) for n, v in points.items()]
    monkeypatch.setattr(main_module, "entry_points", lambda **_: found)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("words", [pytest.param(w, id="-".join(w) or "lictor") for w in _HELP])
def test_main_help_reads_well(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a help that says what it is, and every argument of it is explained."""
    code = main([*words, "--help"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0].startswith(" ".join(("usage: lictor", *words)))
    assert max(map(len, lines)) <= 80
    bare = [
        line
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("  -") and "  " not in line.strip() and not below.startswith("    ")
    ]
    assert bare == []


@pytest.mark.usefixtures("programs")
def test_main_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The first help names every command, with a line on each."""
    main(["--help"])

    out = capsys.readouterr().out
    for name in (*BUILT_IN, "gate", "enforcer"):
        assert f"\n    {name} " in out


def test_main_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lictor ")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="nothing"),
        pytest.param(["nonsense"], id="unknown-command"),
        pytest.param(["config"], id="no-subcommand"),
        pytest.param(["config", "print", "--nonsense"], id="unknown-flag"),
    ],
)
def test_main_wrong_command_line_exits_3(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors have a code of their own, and say what is wrong."""
    assert main(words) == 3
    assert "lictor" in capsys.readouterr().err


def _raising(error: Exception) -> Callable[..., None]:
    def add(subparsers: object) -> None:
        def run(_arguments: object) -> int:
            raise error

        subparsers.add_parser("odd").set_defaults(run=run)  # type: ignore[attr-defined]  # argparse's action

    return add


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(SettingsError("port"), 2, id="settings"),
        pytest.param(ForbiddenError("port", code=403), 5, id="forbidden"),
        pytest.param(OSError("port"), 1, id="system"),
        pytest.param(LictorError("port"), 1, id="other"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupt"),
    ],
)
def test_main_errors_have_exit_codes(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of ours becomes a line and the exit code of its type."""
    _offer(monkeypatch, odd="here:add")
    monkeypatch.setattr(EntryPoint, "load", lambda _self: _raising(error))

    assert main(["odd"]) == code
    if code != 130:
        assert capsys.readouterr().err == "lictor: port\n"


def test_main_broken_plugin_breaks_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plugin that cannot be imported says so when it is asked for, and never else."""
    _offer(monkeypatch, odd="no_such_package.app:add_commands")

    assert main(["odd", "run", "--config", "x"]) == 1
    assert "no_such_package.app:add_commands cannot be loaded" in capsys.readouterr().err
    assert main(["config", "print"]) == 0
    assert main(["--help"]) == 0


def test_main_plugin_cannot_replace_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry point with the name of one of our commands is not asked."""
    _offer(monkeypatch, config="no_such_package.app:add_commands")

    assert main(["config", "print"]) == 0
    assert main(["--help"]) == 0
    assert "no_such_package" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["config", "print"], id="config"),
        pytest.param(["test", "--help"], id="test"),
        pytest.param(["audit", "verify", "--help"], id="audit"),
        pytest.param(["keys", "init", "--help"], id="keys"),
    ],
)
def test_main_without_a_cluster_does_not_import_the_client(words: list[str]) -> None:
    """Commands that need no cluster start without the Kubernetes client (0.45 s and 71 MB)."""
    script = (
        "import json, sys; from lictor.cli.main import main; "
        f"code = main({words!r}); "
        "print('\\n' + json.dumps([code, sorted({n.partition('.')[0] for n in sys.modules})]))"
    )

    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=10
    ).stdout

    code, modules = json.loads(out.splitlines()[-1])
    assert code == 0
    assert not {"kubernetes_asyncio", "admission", "enforcer"} & set(modules)


def test_config_print_is_a_settings_file(capsys: pytest.CaptureFixture[str]) -> None:
    """What `config print` prints reads back as the same settings."""
    main(["config", "print"])

    out = capsys.readouterr().out
    assert parse_settings(yaml.safe_load(out)) == Settings()


def test_config_print_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line that sets something says its default and the reason."""
    main(["config", "print", "--set", "gate.port=1234"])

    lines = capsys.readouterr().out.splitlines()
    assert "  port: 1234  # default 8443: unprivileged; 0 picks a free one" in lines
    assert all("  # " in line and "default " in line for line in lines if not line.endswith(":"))


def test_config_print_of_wrong_settings_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong setting is named on standard error."""
    assert main(["config", "print", "--set", "gate.port=web"]) == 2
    assert 'gate.port is "web"; expected a whole number' in capsys.readouterr().err


def test_main_ends_quietly_where_nobody_reads_on() -> None:
    """`lictor config print | head -1` prints no error, and does not count as done."""
    command = [sys.executable, "-m", "lictor.cli", "config", "print"]
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=20
    )
    os.close(writing)

    assert done.stderr == ""
    assert done.returncode == exits.BROKEN_PIPE
