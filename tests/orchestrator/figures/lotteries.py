"""Rows of lotteries to test with."""

from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import Row, RowState
from workers.lottery.methods import Method
from workers.names import Chain

LAYOUT = RunLayout("r")


IDS = {"b/F16 GT.png": "F16_GT-5fb2ac1e", "a.png": "a-00000001"}


F16, A = IDS


def row(
    image: str,
    method: Method,
    number: int,
    psnr: float | None = None,
    *,
    initialisation: int = 0,
    source: str | None = None,
    **known: object,
) -> Row:
    name = Chain("dip", method if number else "dense", initialisation, source).round(number)
    arm = f"lottery-{method}" if source is None else f"{method}-from-{source}"
    figures: dict[str, object] = {"sparsity": 1 - 0.8**number, "parameters": 1000 - number, "picked": False, **known}
    return Row(
        image,
        arm,
        RowState.RESTORED,
        candidate=str(name),
        psnr=psnr,
        round=number,
        initialisation=initialisation,
        source=source,
        **figures,  # type: ignore[arg-type]
    )


def rounds(image: str, method: Method, *psnr: float, initialisation: int = 0) -> list[Row]:
    """Round 0 and the rounds after it."""
    return [row(image, method, number, value, initialisation=initialisation) for number, value in enumerate(psnr)]
