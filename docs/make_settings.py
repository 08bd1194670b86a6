"""Write docs/settings.md from the settings' own descriptions: ``python docs/make_settings.py``."""

from pathlib import Path

from orchestrator.settings import described_settings

HEAD = """# Settings

Made by `python docs/make_settings.py`. The defaults are those of `denoise`, at the sizes of `--effort standard`.
`--effort quick`, which is chosen on a CPU, has the smaller sizes of
[configs/quickstart.yaml](../configs/quickstart.yaml) ([how](tasks.md#effort)).

`arms[].` are the settings of an arm of your own: an entry of the list `arms`, such as
`{name: mine, like: random, size: 5}`. `generators[].` are those of a generator of your own
([how](tasks.md#a-trained-generator-as-the-prior)); what is said to be found is not for you to give.

| setting | default | what it is |
|---|---|---|
"""


def settings_page() -> str:
    """The page's text."""
    rows = (
        f"| `{name}` | {_shown(default)} | {text.replace('|', '/')} |" for name, default, text in described_settings()
    )
    return HEAD + "\n".join(rows) + "\n"


def _shown(default: str) -> str:
    return "-" if default == "None" else f"`{default}`"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page(), encoding="utf-8")
