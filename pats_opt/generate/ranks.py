"""Memory of adapters by their rank: ``2 x rank x hidden x layers x bytes``.

The formula is the memory model of the vLLM document ("LoRA scheduling in vLLM"). The default sizes
are those of adapters of the attention of SDXL's UNet, as most are: 560 matrices (70 transformer
blocks, each with the query, key, value and output of two attentions) at the width of 60 of the 70
blocks, in half precision.

For SDXL the formula leaves out three things. Of the attention, 10 blocks are only 640 wide, and the
keys and values of cross-attention read 2048 numbers of the text encoders: together 1.2 % more
weights than the formula counts. Adapters that also change feed-forward and projection layers have
1.9 times the weights; those that change the text encoders have 28 % more. And an engine that pads
adapters to the largest rank takes that rank's memory for each; ``pats-opt profile`` measures it.
"""

from __future__ import annotations

from msgspec import field

from pats_opt.generate.config import ConfigTable, Count, Mix, Positive

LARGEST_RANK = 65_536


def lora_gib(rank: float, hidden: int, layers: int, bytes_per_weight: float) -> float:
    """Memory of an adapter in GiB, by the formula of the vLLM document.

    Each adapted matrix of ``hidden`` x ``hidden`` weights gets two of ``rank`` x ``hidden``.

    Args:
        rank: Its rank.
        hidden: Width of the adapted matrices.
        layers: Number of adapted matrices.
        bytes_per_weight: 2 for half precision.
    """
    return 2 * rank * hidden * layers * bytes_per_weight / 2**30


class AdapterRanks(ConfigTable, frozen=True, kw_only=True):
    """Ranks of adapters, and the sizes that turn a rank into memory (:func:`lora_gib`).

    Attributes:
        rank: Distribution of ranks; None to give adapters the profile's memory.
        hidden: Width of the adapted matrices.
        layers: Number of adapted matrices.
        bytes_per_weight: ``bytes`` in files.
    """

    rank: Mix | None = None
    hidden: Count = 1280
    layers: Count = 560
    bytes_per_weight: Positive = field(default=2.0, name="bytes")

    def __post_init__(self) -> None:
        values = () if self.rank is None else self.rank.values
        if not all(1 <= value <= LARGEST_RANK and value == int(value) for value in values):
            raise ValueError(f"'rank' needs whole numbers from 1 to {LARGEST_RANK}")

    def gib(self, rank: float) -> float:
        """Memory, in GiB, of an adapter of a rank, or of a mean of ranks."""
        return lora_gib(rank, self.hidden, self.layers, self.bytes_per_weight)
