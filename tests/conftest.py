"""Set the process up before numpy, torch or matplotlib are imported by any test."""

import json
import os
import re
import shutil
import subprocess
from html import unescape

# The suite runs in several processes: one thread each, so that they do not fight over the cores
# and so that results do not depend on how many there are.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import settings
from torch import nn
from torch.distributions import Independent, Normal

from notmiwae.encoders import Encoder
from notmiwae.mechanisms import MECHANISMS, Ignorable
from notmiwae.model import LatentVariableModel
from notmiwae.observations import OBSERVATIONS, Gaussian

torch.set_num_threads(1)

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

NEEDED = {"truncated-normal": {"low": -1.5, "high": 2.0}}


class Constant(nn.Module):
    """A decoder that gives the same learnable raw parameters for all latents."""

    def __init__(self, raw):
        super().__init__()
        self.raw = nn.Parameter(torch.as_tensor(raw, dtype=torch.get_default_dtype()))

    def forward(self, z):
        return self.raw.expand(*z.shape[:-1], -1)


class ExactPosterior(Encoder):
    """p(z | x_o) of a one-dimensional linear-Gaussian model."""

    def __init__(self, weight, bias, scale):
        super().__init__()
        self.weight, self.bias, self.scale = weight, bias, scale

    def forward(self, x, mask):
        gain = self.weight / self.scale**2 * mask
        precision = 1 + (gain * self.weight).sum(-1, keepdim=True)
        loc = (gain * (x - self.bias)).sum(-1, keepdim=True) / precision
        return Independent(Normal(loc, precision.rsqrt()), 1)


class LinearGaussian:
    """x = w z + b + noise with one latent: all that can be computed by hand."""

    weight = torch.tensor([1.5, -0.8, 0.5])
    bias = torch.tensor([0.3, 0.0, -1.0])
    scale = torch.tensor([0.5, 0.7, 0.4])

    def observation(self):
        observation = Gaussian(3, lambda n: nn.Linear(1, n), scale="column", scale_floor=0.01)
        with torch.no_grad():
            observation.decoder.weight.copy_(self.weight.unsqueeze(-1))
            observation.decoder.bias.copy_(self.bias)
            observation.spread.copy_((self.scale - 0.01).expm1().log())
        return observation

    def model(self, mechanism=None, integrate="auto", encoder=None):
        encoder = encoder or ExactPosterior(self.weight, self.bias, self.scale)
        mechanism = mechanism or Ignorable(3)
        return LatentVariableModel(encoder, self.observation(), mechanism, integrate)

    def joint(self):
        """Mean and covariance of x."""
        return self.bias, torch.outer(self.weight, self.weight) + self.scale.square().diag()

    def rows(self):
        """Values with something else than zero under the mask, and masks of all kinds."""
        x = torch.tensor([[0.2, 1.0, -1.5], [2.0, 3.0, -0.3], [-1.2, 0.4, 2.0], [9.0, 9.0, 9.0]])
        mask = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]])
        return x, mask


@pytest.fixture(autouse=True)
def _seed():
    """No test depends on those that ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def linear_gaussian():
    return LinearGaussian()


@pytest.fixture
def observe():
    """Build the observation of a name, with raw parameters where these are given."""

    def build(name, n_features, raw=None, **options):
        def decoder(n_outputs):
            if raw is None:
                return nn.Linear(2, n_outputs)
            return Constant(torch.as_tensor(raw).repeat(n_outputs)[:n_outputs])

        return OBSERVATIONS[name](n_features, decoder, **NEEDED.get(name, {}) | options)

    return build


@pytest.fixture
def steer():
    """Build the mechanism of a name with every parameter away from its start."""

    def build(name, n_features, seed=0, spread=1.0):
        mechanism = MECHANISMS[name](n_features)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in mechanism.parameters():
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        return mechanism

    return build


PROBE = """
<script>
const said = [];
addEventListener("error", event => said.push(String(event.message)), true);
addEventListener("load", () => {
  const page = document.documentElement;
  const sizes = [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight]);
  const asked = performance.getEntriesByType("resource").map(e => e.name);
  const report = {
    said, sizes, asked: asked.filter(name => !name.startsWith("data:")),
    overflow: page.scrollWidth - page.clientWidth,
  };
  page.dataset.report = JSON.stringify(report);
});
</script>
"""


@pytest.fixture
def open_in_browser(tmp_path):
    """Open a page in a browser so many pixels wide, and say what came of it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium: on Debian, apt install chromium")

    def look(html, width):
        file = tmp_path / "report.html"
        file.write_text(html.replace("<head>", f"<head>{PROBE}", 1), "utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        size = f"--window-size={width},900"
        command = [browser, *flags, "--dump-dom", size, file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr
        return json.loads(unescape(re.search(r'data-report="([^"]*)"', done.stdout)[1]))

    return look
