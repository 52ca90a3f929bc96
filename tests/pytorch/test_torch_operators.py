"""ATen's operators by our rules, compared with PyTorch; the graphs are computed by the operators' references."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch_checks import Function, check

RNG = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=RNG)


def integers(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(-high, high, shape, generator=RNG)


def test_arithmetic() -> None:
    check(
        {
            "add": lambda a, b, i: a + b,
            "add alpha": lambda a, b, i: torch.add(a, b, alpha=2.5),
            "add number": lambda a, b, i: a + 3,
            "number minus": lambda a, b, i: 2 - a,
            "sub alpha": lambda a, b, i: torch.sub(a, b, alpha=3),
            "int add float": lambda a, b, i: i + 0.5,
            "int by int": lambda a, b, i: i / 4,
            "floor": lambda a, b, i: torch.div(a, b, rounding_mode="floor"),
            "trunc": lambda a, b, i: torch.div(i, 3, rounding_mode="trunc"),
            "int floor": lambda a, b, i: i // 3,
            "remainder": lambda a, b, i: i % 3,
            "fmod": lambda a, b, i: torch.fmod(a, 0.7),
            "pow": lambda a, b, i: a**3,
            "pow of number": lambda a, b, i: 2**a,
            "pow of tensors": lambda a, b, i: a.abs() ** b,
            "square": lambda a, b, i: a**2,
            "root": lambda a, b, i: a.abs() ** 0.5,
            "rsqrt": lambda a, b, i: (a.abs() + 1).rsqrt(),
            "maximum": lambda a, b, i: torch.maximum(a, b),
            "atan2": lambda a, b, i: torch.atan2(a, b),
            "bool add": lambda a, b, i: (a > 0) + (b > 0),
            "bool times": lambda a, b, i: (a > 0) * b,
            "bits": lambda a, b, i: (i & 5) | 2,
            "invert": lambda a, b, i: ~i,
            "not": lambda a, b, i: ~(a > 0),
            "addcmul": lambda a, b, i: torch.addcmul(a, a, b, value=0.5),
            "lerp": lambda a, b, i: torch.lerp(a, b, 0.3),
            "in place": lambda a, b, i: a.clone().add_(1).mul_(2),
        },
        normal(3, 5),
        normal(5),
        integers(9, 3, 5),
        tolerance=1e-5,
    )


def test_comparisons_and_choices() -> None:
    check(
        {
            "lt": lambda a, b, i: a < b,
            "int with float": lambda a, b, i: i > 0.5,
            "eq": lambda a, b, i: i == 2,
            "logic": lambda a, b, i: torch.logical_and(a > 0, i),
            "xor": lambda a, b, i: (a > 0) ^ (b > 0),
            "where": lambda a, b, i: torch.where(a > 0, a, b),
            "where number": lambda a, b, i: torch.where(a > 0, a, 0.0),
            "masked": lambda a, b, i: a.masked_fill(i > 1, -1e9),
            "clamp": lambda a, b, i: a.clamp(-0.5, 0.5),
            "clamp low": lambda a, b, i: a.clamp(min=0.1),
            "clamp ints": lambda a, b, i: i.clamp(-2, 3),
            "clamp crossed": lambda a, b, i: a.clamp(1, -1),
            "clamp tensors": lambda a, b, i: torch.clamp(a, b, b + 1),
            "isnan": lambda a, b, i: torch.isnan(a / 0 * 0),
            "isinf of ints": lambda a, b, i: torch.isinf(i),
            "nan": lambda a, b, i: torch.nan_to_num(a / 0, posinf=1.0),
        },
        normal(4, 3),
        normal(4, 3),
        integers(4, 4, 3),
    )


def test_activations() -> None:
    names = ("relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "mish", "selu", "elu")
    names += ("celu", "logsigmoid", "softsign", "tanhshrink", "softplus", "leaky_relu", "hardshrink", "softshrink")
    more = {
        "gelu tanh": lambda x, w: F.gelu(x, approximate="tanh"),
        "celu alpha": lambda x, w: F.celu(x, 0.7),
        "elu alpha": lambda x, w: F.elu(x, 0.3),
        "softplus beta": lambda x, w: F.softplus(x, beta=2.0),
        "hardtanh": lambda x, w: F.hardtanh(x, -0.3, 0.9),
        "threshold": lambda x, w: F.threshold(x, 0.2, -3.0),
        "prelu": lambda x, w: F.prelu(x, w),
        "glu": lambda x, w: F.glu(x, 1),
        "softmax": lambda x, w: x.softmax(1),
        "log_softmax": lambda x, w: F.log_softmax(x, 0),
        "softmin": lambda x, w: F.softmin(x, 1),
        "dropout": lambda x, w: F.dropout(x, training=False),
        "normalize": lambda x, w: F.normalize(x, dim=1),
        "cosine": lambda x, w: F.cosine_similarity(x, x + 1),
    }
    check({name: _of_first(getattr(F, name)) for name in names} | more, normal(3, 4), normal(4).abs(), tolerance=1e-5)


def _of_first(function: Function) -> Function:
    return lambda x, _: function(x)


def test_unary_functions() -> None:
    names = ("abs", "acos", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor")
    names += ("log1p", "neg", "reciprocal", "round", "sign", "sin", "sinh", "square", "tan", "trunc", "frac")

    more = {
        "log": lambda x, i: torch.log(x.abs()),
        "log2": lambda x, i: torch.log2(x.abs()),
        "acosh": lambda x, i: torch.acosh(x.abs() + 1),
        "sqrt of ints": lambda x, i: torch.sqrt(i.abs()),
        "ceil of ints": lambda x, i: torch.ceil(i),
        "cast": lambda x, i: (x * 10).to(torch.int32),
        "to bool": lambda x, i: i.bool(),
        "half and back": lambda x, i: x.half().float(),
        "double": lambda x, i: x.double() * 2,
    }
    made = {name: _of_first(getattr(torch, name)) for name in names}
    check(made | more, normal(3, 4).tanh(), integers(5, 6), tolerance=1e-5)


def test_shapes() -> None:
    check(
        {
            "view": lambda x, y: x.view(2, -1),
            "permute": lambda x, y: x.permute(2, 0, 1),
            "transpose": lambda x, y: x.transpose(-1, 0),
            "flatten": lambda x, y: x.flatten(1),
            "flatten some": lambda x, y: x.flatten(0, 1),
            "unflatten": lambda x, y: x.unflatten(2, (2, -1)),
            "expand": lambda x, y: y.expand(2, -1, 4),
            "squeeze": lambda x, y: y[None].squeeze(),
            "squeeze one": lambda x, y: y[None].squeeze(0),
            "unsqueeze": lambda x, y: x.unsqueeze(-1),
            "cat": lambda x, y: torch.cat([x, x * 2], -1),
            "stack": lambda x, y: torch.stack([x, x], 1),
            "split": lambda x, y: x.split(3, 2),
            "split sizes": lambda x, y: x.split([1, 3], -1),
            "chunk": lambda x, y: x.chunk(2, 1),
            "unbind": lambda x, y: x.unbind(1),
            "slice": lambda x, y: x[:, 1:, ::2],
            "slice end": lambda x, y: x[..., -3:-1],
            "select": lambda x, y: x[1, -1],
            "flip": lambda x, y: x.flip(0, 2),
            "roll": lambda x, y: x.roll((1, -2), (0, 2)),
            "roll flat": lambda x, y: x.roll(5),
            "repeat": lambda x, y: y.repeat(2, 1, 2),
            "tile": lambda x, y: x.tile(2),
            "interleave": lambda x, y: x.repeat_interleave(2, 1),
            "tril": lambda x, y: x.tril(-1),
            "triu of bools": lambda x, y: (x > 0).triu(1),
            "diagonal": lambda x, y: x.diagonal(1, 1, 2),
            "unfold": lambda x, y: x.unfold(2, 2, 1),
            "narrow": lambda x, y: x.narrow(2, 1, 2),
            "movedim": lambda x, y: x.movedim(0, -1),
            "swap": lambda x, y: x.swapaxes(0, 1),
            "meshgrid": lambda x, y: torch.meshgrid(x[0, 0], y[:, 0], indexing="ij"),
            "scatter of a slice": lambda x, y: set_part(x),
        },
        normal(2, 3, 4),
        normal(3, 1),
    )


def set_part(x: torch.Tensor) -> torch.Tensor:
    copied = x.clone()
    copied[:, 1] = 0
    copied[:, :, 2:] += 1
    return copied


def test_images() -> None:
    check(
        {
            "pixel_shuffle": lambda x, g: F.pixel_shuffle(x, 2),
            "pixel_unshuffle": lambda x, g: F.pixel_unshuffle(x, 3),
            "channel_shuffle": lambda x, g: F.channel_shuffle(x, 2),
            "pad": lambda x, g: F.pad(x, (1, 2, 0, 1), value=3.0),
            "crop": lambda x, g: F.pad(x, (-1, 0, 1, -2)),
            "reflect": lambda x, g: F.pad(x, (1, 2, 2, 1), mode="reflect"),
            "replicate": lambda x, g: F.pad(x, (1, 2, 2, 1), mode="replicate"),
            "circular": lambda x, g: F.pad(x, (1, 2, 2, 1), mode="circular"),
            "nearest": lambda x, g: F.interpolate(x, scale_factor=2),
            "nearest down": lambda x, g: F.interpolate(x, size=(4, 5)),
            "nearest factor": lambda x, g: F.interpolate(x, scale_factor=1.7),
            "nearest exact": lambda x, g: F.interpolate(x, size=(7, 4), mode="nearest-exact"),
            "bilinear": lambda x, g: F.interpolate(x, size=(9, 5), mode="bilinear"),
            "bilinear factor": lambda x, g: F.interpolate(x, scale_factor=1.6, mode="bilinear"),
            "recomputed": lambda x, g: F.interpolate(x, scale_factor=1.6, mode="bilinear", recompute_scale_factor=True),
            "corners": lambda x, g: F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=True),
            "bicubic": lambda x, g: F.interpolate(x, size=(9, 5), mode="bicubic"),
            "bicubic corners": lambda x, g: F.interpolate(x, size=(9, 5), mode="bicubic", align_corners=True),
            "antialias": lambda x, g: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True),
            "antialias cubic": lambda x, g: F.interpolate(x, size=(3, 4), mode="bicubic", antialias=True),
            "linear": lambda x, g: F.interpolate(x[:, :, 0], size=4, mode="linear"),
            "trilinear": lambda x, g: F.interpolate(x[:, None], scale_factor=2, mode="trilinear"),
            "grid": lambda x, g: F.grid_sample(x, g, align_corners=False),
            "grid border": lambda x, g: F.grid_sample(x, g, padding_mode="border", mode="nearest", align_corners=True),
            "col": lambda x, g: F.unfold(x, 3, padding=1, stride=2),
            "fold": lambda x, g: F.fold(x.reshape(2, 12, 6)[:, :, :4], (3, 3), 2),
        },
        normal(2, 4, 6, 3),
        normal(2, 4, 4, 2).tanh(),
        tolerance=1e-5,
    )


def test_products() -> None:
    check(
        {
            "linear": lambda x, w, b: F.linear(x, w, b),
            "linear of vectors": lambda x, w, b: F.linear(x[0, 0], w, b),
            "matmul": lambda x, w, b: x @ w.T,
            "vector": lambda x, w, b: x @ w[0],
            "dot": lambda x, w, b: torch.dot(w[0], w[1]),
            "outer": lambda x, w, b: torch.outer(b, b),
            "bmm": lambda x, w, b: torch.bmm(x, x.transpose(1, 2)),
            "addmm": lambda x, w, b: torch.addmm(b, x[0], w.T),
            "addmm scaled": lambda x, w, b: torch.addmm(b, x[0], w.T, beta=0.5, alpha=2),
            "baddbmm": lambda x, w, b: torch.baddbmm(x[:, :, :3], x, x.transpose(1, 2), alpha=0.5),
            "einsum": lambda x, w, b: torch.einsum("bij,kj->bki", x, w),
            "bilinear": lambda x, w, b: F.bilinear(x, x, w[:, None] * w[:, :, None], b),
            "vector on the left": lambda x, w, b: b @ w,
            "cdist": lambda x, w, b: (torch.cdist(x, w[:3]), torch.cdist(x, w, 1.0)),
            "cdist by a product": lambda x, w, b: torch.cdist(x, w, compute_mode="use_mm_for_euclid_dist"),
            "attention": lambda x, w, b: F.scaled_dot_product_attention(x, x * 2, x + 1),
            "causal": lambda x, w, b: F.scaled_dot_product_attention(x, x, x, is_causal=True),
            "masked": lambda x, w, b: F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, :, :3] > -1, scale=0.3),
            "biased": lambda x, w, b: F.scaled_dot_product_attention(x, x, x, attn_mask=x[0, :, :3]),
            "grouped": lambda x, w, b: F.scaled_dot_product_attention(
                x[None].expand(1, 2, 3, 4), x[None, :1], x[None, :1], enable_gqa=True
            ),
        },
        normal(2, 3, 4),
        normal(6, 4),
        normal(6),
        tolerance=1e-5,
    )


def test_reductions() -> None:
    check(
        {
            "mean": lambda x, i: x.mean(),
            "mean of axes": lambda x, i: x.mean((0, 2), keepdim=True),
            "sum": lambda x, i: x.sum(-1),
            "sum of bools": lambda x, i: (x > 0).sum(),
            "sum of ints": lambda x, i: i.int().sum(),
            "prod": lambda x, i: x.prod(1),
            "amax": lambda x, i: x.amax((1, 2)),
            "max": lambda x, i: x.max(),
            "max with places": lambda x, i: tuple(x.max(1)),
            "min": lambda x, i: x.min(2, keepdim=True).values,
            "argmax": lambda x, i: x.argmax(),
            "argmin": lambda x, i: x.argmin(1, keepdim=True),
            "any": lambda x, i: (x > 1).any(1),
            "all": lambda x, i: i.all(),
            "var": lambda x, i: x.var(1),
            "population": lambda x, i: x.var((0, 1), correction=0),
            "std": lambda x, i: x.std(),
            "var_mean": lambda x, i: torch.var_mean(x, 2),
            "norm": lambda x, i: x.norm(),
            "norm 1": lambda x, i: torch.linalg.vector_norm(x, 1, 1),
            "norm 3": lambda x, i: torch.linalg.vector_norm(x, 3, 1),
            "largest": lambda x, i: torch.linalg.vector_norm(x, float("inf")),
            "logsumexp": lambda x, i: x.logsumexp(1),
            "cumsum": lambda x, i: x.cumsum(1),
            "cumsum of ints": lambda x, i: i.int().cumsum(0),
            "cumprod": lambda x, i: x.cumprod(2),
            "topk": lambda x, i: x.topk(2, 1),
            "smallest": lambda x, i: x.topk(2, largest=False).values,
            "sort": lambda x, i: x.sort(1, descending=True),
            "argsort": lambda x, i: x.argsort(0),
        },
        normal(3, 4, 2),
        integers(5, 6),
        tolerance=1e-5,
    )


def test_indices() -> None:
    check(
        {
            "index": lambda x, i: x[:, i],
            "index from behind": lambda x, i: x[:, i - 3],
            "two together": lambda x, i: x[:, i, i],
            "two apart": lambda x, i: x[i % 2, :, i],
            "mask": lambda x, i: x.masked_fill(x > 0, 0.0),
            "index_select": lambda x, i: x.index_select(1, i),
            "embedding": lambda x, i: F.embedding(i, x[0]),
            "gather": lambda x, i: x.gather(1, i[None, :, None].expand(2, 4, 3)),
            "scatter": lambda x, i: x.scatter(1, i[None, :, None].expand(2, 4, 3) % 2, 7.0),
            "scatter_add": lambda x, i: x.scatter_add(1, i[None, :2, None].expand(2, 2, 3), x),
            "index_put": lambda x, i: x.index_put((i[:2] % 2, i[:2]), x[0, 0, 0]),
            "one_hot": lambda x, i: F.one_hot(i, 5),
            "arange": lambda x, i: torch.arange(5) + i[0],
            "float arange": lambda x, i: torch.arange(0, 1, 0.3) + x[0, 0, 0],
            "zeros": lambda x, i: torch.zeros_like(x) + 1,
            "full": lambda x, i: torch.full((2, 2), 3) + i[0],
            "linspace": lambda x, i: torch.linspace(0, 1, 5) + x[0, 0, 0],
            "eye": lambda x, i: torch.eye(3) + x[0],
            "put apart": lambda x, i: put(x, (i[:2] % 2, slice(None), i[:2]), 7.0),
            "put behind": lambda x, i: put(x, (slice(None), i[1:3]), x[:, :2] * 2),
            "put every other": lambda x, i: put(x, (slice(None), slice(None, None, 2)), x[:, :2] * 2),
            "masked_scatter": lambda x, i: x.masked_scatter(x > 0, x * 3),
            "scatter mean": lambda x, i: reduced(x, i, "mean", True),
            "scatter amax": lambda x, i: reduced(x, i, "amax", True),
            "scatter prod": lambda x, i: reduced(x, i, "prod", False),
            "scatter mean alone": lambda x, i: reduced(x, i, "mean", False),
            "scatter amin alone": lambda x, i: reduced(x, i, "amin", False),
            "scatter mean of ints": lambda x, i: i.scatter_reduce(0, i % 2, i * 3, "mean"),
            "bucketize": lambda x, i: (x[..., None] > torch.tensor([0.0, 0.5])).sum(-1),
        },
        normal(2, 3, 3),
        torch.tensor([0, 2, 1, 1]),
    )


def reduced(x: torch.Tensor, i: torch.Tensor, how: str, include_self: bool) -> torch.Tensor:
    index = i[None, :, None].expand(2, 4, 3) % 2
    return x.scatter_reduce(1, index, torch.cat([x, x], 1), how, include_self=include_self)


def put(x: torch.Tensor, where: tuple[object, ...], value: object) -> torch.Tensor:
    copied = x.clone()
    copied[where] = value
    return copied


def test_bags_of_embeddings() -> None:
    starts = torch.tensor([0, 2, 2, 5])

    def all_modes(w: torch.Tensor, i: torch.Tensor) -> list[torch.Tensor]:
        modes = [(mode, padding) for mode in ("sum", "mean", "max") for padding in (None, 1)]
        return [F.embedding_bag(i, w, starts, mode=mode, padding_idx=padding) for mode, padding in modes]

    functions: dict[str, Function] = {
        "modes": all_modes,
        "rows": lambda w, i: F.embedding_bag(i.view(2, 3), w, mode="sum", per_sample_weights=w[:2, :3]),
        "last offset": lambda w, i: F.embedding_bag(i, w, torch.tensor([0, 4, 6]), include_last_offset=True),
    }
    check(functions, normal(5, 4), torch.tensor([3, 1, 3, 2, 1, 0]))


def test_elements_in_order() -> None:
    check(
        {
            "median": lambda x, i: tuple(x.median(1)),
            "median of even": lambda x, i: x.median(2, keepdim=True).values,
            "median of all": lambda x, i: x.median(),
            "median with NaN": lambda x, i: with_nan(x).median(1).values,
            "nanmedian": lambda x, i: (with_nan(x).nanmedian(1).values, with_nan(x).nanmedian()),
            "median of ints": lambda x, i: i.median(),
            "kthvalue": lambda x, i: tuple(x.kthvalue(2, 1)),
            "bucketize": lambda x, i: torch.bucketize(x, x[:, 0, 0].sort().values, right=True),
            "searchsorted": lambda x, i: torch.searchsorted(x.sort(1).values.mT.contiguous(), x.mT.contiguous()),
            "searchsorted of ints": lambda x, i: torch.searchsorted(i.sort().values, i, out_int32=True),
            "cummax": lambda x, i: x.cummax(1).values,
            "cummin": lambda x, i: i.cummin(0).values,
            "triangle": lambda x, i: torch.tril_indices(3, 4, 1) + torch.triu_indices(4, 3, -1) + i[:1],
        },
        normal(3, 5, 2),
        integers(5, 6),
    )


def with_nan(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 1, torch.nan, x)


def test_complex_numbers() -> None:
    turn = torch.polar(torch.ones(3, 4), normal(3, 4))

    def several(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        z = torch.complex(x, y)
        made = [z + 1, z * (2 + 1j), z / (z + 3), z.conj() * z, torch.exp(z * 0.1j), z - x, x * z, 2 - z, z**2, x + z]
        made += [z.sum(1), z.mean(0), z.transpose(0, 1)[1:], torch.cat([z, z], 1), x.to(torch.complex64), z / 2, -z]
        return [torch.view_as_real(v.resolve_conj()) for v in made]

    check(
        {
            "arithmetic": several,
            "abs": lambda x, y: torch.complex(x, y).abs(),
            "angle": lambda x, y: (torch.complex(x, y[:1]).angle(), x.angle()),
            "parts": lambda x, y: (torch.complex(x, y).real, torch.complex(x, y).imag),
            "rotary": lambda x, y: torch.view_as_real(torch.view_as_complex(x.reshape(3, 4, 2)) * turn).flatten(1),
        },
        normal(3, 8),
        normal(3, 8),
        tolerance=1e-5,
    )


def test_fourier_transforms() -> None:
    fft, window = torch.fft, torch.hann_window(8)

    def spectrum(s: torch.Tensor) -> torch.Tensor:
        return torch.stft(s, 8, 3, window=window, return_complex=True)

    check(
        {
            "rfft": lambda x, s: (fft.rfft(x).imag, fft.rfft(x, n=9, dim=1, norm="ortho").real),
            "irfft": lambda x, s: (fft.irfft(fft.rfft(x)), fft.irfft(fft.rfft(x), n=11, norm="forward")),
            "fft": lambda x, s: torch.view_as_real(fft.fftshift(fft.fft(x, dim=1), dim=1)),
            "ifft": lambda x, s: fft.ifft(fft.fft(x) * 1j).imag,
            "fft2": lambda x, s: (fft.fft2(x).abs(), fft.irfft2(fft.rfft2(x))),
            "phase": lambda x, s: fft.rfft(s[:, :8] * 0 + torch.arange(8)).angle(),
            "stft": lambda x, s: torch.view_as_real(spectrum(s)),
            "istft": lambda x, s: torch.istft(spectrum(s) * 2, 8, 3, window=window),
        },
        normal(2, 6, 10),
        normal(2, 40),
        tolerance=1e-5,
    )


def test_convolutions_and_poolings() -> None:
    x1, w = normal(2, 4, 11), normal(6, 4, 3)
    check(
        {
            "conv1d": lambda x, y: F.conv1d(y, w, stride=2, padding=1, dilation=2),
            "same": lambda x, y: F.conv1d(y, w[:, :, :2], padding="same"),
            "one sample": lambda x, y: F.conv1d(y[0], w),
            "conv2d": lambda x, y: F.conv2d(x, w[:, :, :, None].expand(6, 4, 3, 2), w[:, 0, 0], padding=(1, 0)),
            "grouped": lambda x, y: F.conv2d(x, w[:4, :1, :, None], groups=4),
            "conv3d": lambda x, y: F.conv3d(x[:, :, None], w[:, :, :1, None, None].expand(6, 4, 1, 2, 2)),
            "transposed": lambda x, y: F.conv_transpose1d(y, w[:4], stride=3, padding=1, output_padding=1),
            "transposed groups": lambda x, y: F.conv_transpose2d(x, w[:4, :, :, None], groups=2, dilation=(2, 1)),
            "max_pool": lambda x, y: F.max_pool2d(x, 3, 2, 1),
            "max_pool up": lambda x, y: F.max_pool2d(x, 2, ceil_mode=True),
            "max_pool apart": lambda x, y: F.max_pool1d(y, 3, 1, 1, dilation=2),
            "max_pool places": lambda x, y: F.max_pool2d(x, 2, return_indices=True),
            "max_pool of one": lambda x, y: F.max_pool2d(x[0], 2),
            "avg_pool": lambda x, y: F.avg_pool2d(x, 3, 2, 1),
            "without pads": lambda x, y: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            "avg_pool up": lambda x, y: F.avg_pool1d(y, 3, 2, 1, ceil_mode=True),
            "divisor": lambda x, y: F.avg_pool2d(x, 2, divisor_override=3),
            "avg_pool3d": lambda x, y: F.avg_pool3d(x[:, None], 2),
            "lp_pool": lambda x, y: F.lp_pool2d(x.abs(), 2, 2),
            "global": lambda x, y: F.adaptive_avg_pool2d(x, 1),
            "halves": lambda x, y: F.adaptive_avg_pool2d(x, (None, 3)),
            "uneven": lambda x, y: F.adaptive_avg_pool2d(x, (4, 4)),
            "uneven 1d": lambda x, y: F.adaptive_avg_pool1d(y, 4),
            "adaptive max places": lambda x, y: F.adaptive_max_pool2d(x, (3, 4), return_indices=True),
            "adaptive max": lambda x, y: F.adaptive_max_pool2d(x, (3, 4)),
        },
        normal(2, 4, 7, 6),
        x1,
        tolerance=1e-5,
    )


def test_normalizations() -> None:
    mean, variance, gamma = normal(4), normal(4).abs(), normal(4)
    check(
        {
            "batch": lambda x: F.batch_norm(x, mean, variance, gamma, mean),
            "batch without weights": lambda x: F.batch_norm(x, mean, variance),
            "of the batch": lambda x: F.batch_norm(x, None, None, gamma, mean, training=True),
            "layer": lambda x: F.layer_norm(x, (5,), normal_5, normal_5 + 1),
            "layer of two": lambda x: F.layer_norm(x, (4, 5), eps=1e-3),
            "group": lambda x: F.group_norm(x, 2, gamma, mean),
            "group without weights": lambda x: F.group_norm(x, 4),
            "instance": lambda x: F.instance_norm(x, weight=gamma, bias=mean),
            "rms": lambda x: F.rms_norm(x, (5,), normal_5),
            "local response": lambda x: F.local_response_norm(x, 3),
        },
        normal(3, 4, 5),
        tolerance=1e-5,
    )


normal_5 = normal(5)
