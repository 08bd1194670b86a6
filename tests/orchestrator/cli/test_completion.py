import subprocess

import pytest

from orchestrator.cli import main


def test_bash_completes_commands_options_and_choices(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path_factory.mktemp("completion") / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")

    def completed(*words: str) -> set[str]:
        """The words that bash offers for the last one."""
        line = " ".join(f"'{word}'" for word in ("dip-orchestrator", *words))
        ask = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)};"
            "$(complete -p dip-orchestrator | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        told = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
        return set(told.stdout.split())

    assert completed("sub") == {"submit"}
    assert completed("submit", "--ef") == {"--effort"}
    assert completed("submit", "--task", "") >= {"denoise", "inpaint", "super-resolve", "deblur", "jpeg"}


def test_zsh_has_its_own_and_other_shells_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef dip-orchestrator")
    with pytest.raises(SystemExit) as ended:
        main(["completion", "cmd"])
    assert ended.value.code == 2
