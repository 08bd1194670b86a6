"""The figures of a study, for people."""

import json
from typing import Any

from orchestrator.cli.shown.units import decibels
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from orchestrator.text import counted

_SHOWN_SIZES = (1, 3, 5, 15)


def show_study(store: Store, layout: RunLayout) -> None:
    """Print the figures of a finished study (`orchestrator.figures.study.write_study`), and where they are."""
    _print_study(json.loads(store.get(layout.study("study.json"))))
    print(f"table            {store.show(layout.study('table.parquet'))}")
    print(f"study            {store.show(layout.study('index.html'))}")


def _print_study(study: dict[str, Any]) -> None:
    print()
    images = counted(study["images"], "image")
    print(f"Kendall's tau with the best PSNR, mean of {images} (95 %); -1 foretells it exactly")
    for tau in study["taus"]:
        if tau["image"] is None:
            known = tau["low"] is not None and tau["high"] is not None
            interval = f"  {tau['low']:+.2f} to {tau['high']:+.2f}" if known else ""
            print(f"  {tau['predictor']:<24} {tau['tau']:+.2f}{interval}")
    chosen = [point for point in study["cohort_sizes"] if point["size"] in _SHOWN_SIZES]
    print("best PSNR among K, dB")
    for name in dict.fromkeys(point["by"] for point in chosen):
        figures = "  ".join(f"{point['size']}: {decibels(point['best'])}" for point in chosen if point["by"] == name)
        print(f"  {name or 'at random (expected)':<24} {figures}")
