"""ADM's classifier of noisy images: the encoder half of the U-Net, then attention pooling (Dhariwal & Nichol 2021)."""

import torch
from torch import Tensor, nn

from dode.bundled_models.unet import sinusoid
from dode.errors import DodeError
from dode_paper.checkpoints.adm import Settings, encoder, middle, through, time_embedding
from dode_paper.checkpoints.attention import attend, by_part


class Pool(nn.Module):
    """Attention from the mean over positions, CLIP's pooling: (B, C, H, W) → (B, out)."""

    def __init__(self, positions: int, channels: int, head_channels: int, out: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.positional_embedding = nn.Parameter(torch.randn(channels, positions + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positional_embedding
        pooled: Tensor = self.c_proj(attend(self.qkv_proj(x), self.heads, by_part))[:, :, 0]
        return pooled


class NoisyClassifier(nn.Module):
    """x (B, C, H, W), t (B,) from 0 to 999 → logits (B, out_channels)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        if settings.head_channels is None:
            raise DodeError("the classifier's pooling needs head_channels, the channels of an attention head")
        self.settings = s = settings
        self.time_embed = time_embedding(s)
        self.input_blocks, skips = encoder(s)
        width = skips[-1]
        self.middle_block = middle(width, s)
        positions = (s.resolution >> (len(s.widths) - 1)) ** 2
        pool = Pool(positions, width, settings.head_channels, s.out_channels)
        self.out = nn.Sequential(nn.GroupNorm(s.groups, width), nn.SiLU(), pool)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time_embed(sinusoid(t, self.settings.channels).to(x.dtype))
        for block in self.input_blocks:
            x = through(block, x, embedding)
        logits: Tensor = self.out(through(self.middle_block, x, embedding))
        return logits

    def log_probability(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """The log of p(label | x) at time t, (B,): what `Model.classifier_guided` takes."""
        logs: Tensor = self(x, t).log_softmax(dim=1)
        return logs.gather(1, label[:, None])[:, 0]
