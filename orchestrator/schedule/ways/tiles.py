"""The fits of the tiles of one image: each is a trial of its own, and all of them together are one fit."""

from collections.abc import Sequence

from orchestrator.schedule.crashes import History
from orchestrator.schedule.ways.wishes import FitKey
from workers.tiles import Tile, Tiling


class TileFits:
    """Keeps for every fit of an image that is cut the tiles that are still fitted.

    Attributes:
        tiling: the tiles.
    """

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self._left: dict[FitKey, set[Tile]] = {}
        self._over: dict[FitKey, set[Tile]] = {}
        self._histories: dict[tuple[FitKey, Tile], History] = {}

    @property
    def left(self) -> int:
        """How many tiles have begun and not ended."""
        return sum(map(len, self._left.values()))

    def begin(self, key: FitKey) -> Sequence[Tile]:
        """Begin the tiles of a fit, or go on from a rung with those that have not ended there; return them."""
        over = self._over.setdefault(key, set())
        tiles = [tile for tile in self.tiling.tiles if tile not in over]
        self._left[key] = set(tiles)
        return tiles

    def running(self, key: FitKey, tile: Tile) -> bool:
        """Whether a tile is still fitted."""
        return tile in self._left.get(key, ())

    def ended(self, key: FitKey, tile: Tile, *, paused: bool) -> bool:
        """Take note that a tile has ended, or ``paused`` at a rung; return whether it was the last."""
        self._left[key].discard(tile)
        if not paused:
            self._over[key].add(tile)
        return not self._left[key]

    def history(self, key: FitKey, tile: Tile) -> History:
        """How often trials of a tile have crashed."""
        return self._histories.get((key, tile), History())

    def crashed(self, key: FitKey, tile: Tile, history: History) -> None:
        """Take note of the crashes of a tile."""
        self._histories[key, tile] = history
