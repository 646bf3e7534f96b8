"""Write prose and measured figures of the bundled cards: python cards_en.py FIGURES.json (run in the tree)."""
import json, re, sys
from pathlib import Path
F = json.loads(Path(sys.argv[1]).read_text())
CREDIT = """**Drawings.** Noto Emoji and its first version (Google, Apache-2.0), Fluent Emoji and Fluent Emoji Flat (Microsoft, MIT), Twemoji (Twitter and
contributors, CC BY 4.0) and Emoji One v2 (CC BY 4.0), fetched by name and digest from the npm packages of Iconify (`zoo/training/drawings.py`) when a
model is trained; they do not ship with it."""
MEMORY = "A model of this size remembers its drawings: a sample is close to one of six designs of its class, and the page shows the nearest one."
DATA = 'pictures of the data set "emoji" (`zoo/training/emoji.py`: a hundred things, six designs of each, shifted, tilted, scaled and mirrored on soft backgrounds)'
HARD = "2 CPU cores (AMD EPYC, bfloat16 autocast), no GPU. Stored in bfloat16."

def pct(x, n=1): return f"{100*x:.{n}f} %"

def table(name, w):
    f = F[name]
    rows = [("dpm-solver++", 25, w, "guided"), ("dpm-solver++", 25, "off", "unguided"), ("ddpm", 250, w, "ddpm_250")]
    t = ["| solver | steps | guidance | recognised | worst class |", "|---|--:|--:|--:|--:|"]
    t += [f"| {s} | {n} | {g} | {pct(f[k+'_all'])} | {pct(f[k+'_worst_class'])} |" for s, n, g, k in rows]
    return "\n".join(t)

def generator(name, text, made, limits, w):
    f = F[name]
    return f"""{text}

![One guided sample of every class]({name}.png)

**Quality.** Share of {f["images"]:,} pictures ({f["images"]//100} a class, seeds 0 to {f["images"]-1}) in which `tiny-vit` recognises the class that was asked for:

{table(name, w)}

**How it was made.** {made} The table: `python -m zoo.training {name} --measure --images {f["images"]}`; the picture: `--sheet`.

{CREDIT}

**Limits.** {limits} {MEMORY}
"""
W = F["guidance"]
BODY = {}
BODY["tiny-dit"] = generator("tiny-dit", """DiT (Peebles and Xie, arXiv 2212.09748) small enough for a laptop: class-conditional, adaLN-Zero blocks, 64 tokens of 2x2 latents,
learned variance, guidance on the first three of four channels. It computes everything that DiT-XL/2 computes, with fewer and narrower blocks.""",
f"""`python -m zoo.training tiny-dit`, seed 0: 8,000 steps of 32 latents (the first 260 of 64) of 24,576 {DATA}, encoded once by `tiny-vae`; noise prediction
with min-SNR-5 weights, the variational bound for the variance, 10 % of the labels dropped, Muon for the matrices of the blocks and AdamW for the rest,
constant rate and then a linear fall over the last 40 %, weights averaged over about 1,000 steps. Then `python -m zoo.training tiny-dit-more`, seed 1: 4,000
steps more in the same way. The first values of the blocks were those of a model of the same sizes that had been trained on ten geometric shapes (commit
75f182f has it). {F["tiny-dit"]["seconds"]:,} s in all on {HARD}""",
"A hundred things, one at a time, 64x64 pixels; design and background are the noise's choice.", W["tiny-dit"])
BODY["tiny-uvit"] = generator("tiny-uvit", """U-ViT (Bao et al., arXiv 2209.12152) small enough for a laptop: time and class are tokens like the 64 patches, and long skip connections join
shallow and deep blocks, as in U-ViT-H/2. It was trained on the same pictures as tiny DiT, so the two can be compared on the same noise.""",
f"""`python -m zoo.training tiny-uvit`: seed 0, {F["tiny-uvit"]["steps"]:,} steps of 32 latents of 24,576 {DATA}, encoded once by `tiny-vae`; noise prediction
with min-SNR-5 weights, 10 % of the labels dropped, Muon for the matrices of the blocks and AdamW for the rest, constant rate and then a linear fall over the
last 40 %, weights averaged over about 1,000 steps. The first values of the blocks were those of a model of the same sizes that had been trained on ten
geometric shapes (commit 75f182f has it). {F["tiny-uvit"]["seconds"]:,} s on {HARD}""",
"A hundred things, one at a time, 64x64 pixels; design and background are the noise's choice.", W["tiny-uvit"])
BODY["tiny-unet"] = generator("tiny-unet", """The convolutional baseline for the diffusion transformers: the U-Net of Ho et al. (arXiv 2006.11239) as diffusers'
`UNet2DModel` builds it, at about the size and cost of tiny DiT. Residual blocks of 3x3 convolutions on three levels of 16, 8 and 4
positions a side, self-attention on the two smaller ones; time and class are added in every residual block. Its schedule, autoencoder
and data are tiny DiT's, so the two can be compared on the same noise.""",
f"""`python -m zoo.training tiny-unet`: seed 0, {F["tiny-unet"]["steps"]:,} steps of 32 latents of 24,576 {DATA}, encoded once by `tiny-vae`; noise prediction
with min-SNR-5 weights, 10 % of the labels dropped, AdamW, constant rate and then a linear fall over the last 40 %, weights averaged over about 1,000 steps.
The first values were those of a model of the same sizes that had been trained on ten geometric shapes (commit 75f182f has it). {F["tiny-unet"]["seconds"]:,} s
on {HARD}""",
"A hundred things, one at a time, 64x64 pixels; design and background are the noise's choice. Its attention is computed by diffusers and cannot be recorded.", W["tiny-unet"])
f = F["tiny-latte"]
BODY["tiny-latte"] = f"""Latte (Ma et al., arXiv 2401.03048) small enough for a laptop: sixteen frames of 64x64 pixels, blocks that alternate between attention within a frame (64
tokens of 2x2 latents) and attention of one position through time, adaLN, learned variance, guidance on all four channels. The class names what is seen and
how it moves ("rocket flies up"): sixteen things and six motions.

![Every second frame of one guided clip of every sixth class](tiny-latte.png)

**Quality.** `tiny-vivit` recognises thing and motion in {pct(f["guided_all"])} of {f["images"]} guided samples ({pct(f["guided_worst_class"])} of the worst class, of
{f["images"]//96} each), 25 steps of dpm-solver++, w = {W["tiny-latte"]}. Flicker, the mean second difference from frame to frame, is {f["flicker_ratio"]:.2f} times that of
{f["images"]} held-out clips. `python -m zoo.training tiny-latte --measure --images {f["images"]}` measures both again.

**How it was made.** `python -m zoo.training tiny-latte`: seed 0, {f["steps"]:,} steps of 4 of 6,144 clips (`zoo/training/clips.py`), encoded by `tiny-vae`. It starts from the
weights of `tiny-dit`, as the authors start from those of DiT: the same six blocks, of which every second now attends through time. Noise-prediction loss
with min-SNR-5 weights, raised at high noise (up to 100 times), where the motion is decided; 10 % of the labels dropped; Muon for the blocks' matrices, AdamW
for the rest, averaged weights. {f["seconds"]:,} s on one of {HARD}

{CREDIT}

**Limits.** It knows these things and motions only, one at a time; design and background are the noise's choice. {MEMORY.replace("a sample is", "what moves is")}
""".replace(", and the page shows the nearest one", "")
f = F["tiny-vae"]
BODY["tiny-vae"] = f"""The autoencoder of the small generators: 64x64 RGB to latents of 4 channels and 16x16 positions (downsampled by 4), and back.
It has the architecture of Stable Diffusion's autoencoder (Rombach et al., arXiv 2112.10752; `AutoencoderKL` in diffusers), narrower
and without attention.

**Quality.** Mean PSNR {f["psnr_db"]:.2f} dB over 1,024 held-out pictures, decoded from the means of their latents.

**How it was made.** On {HARD[:-1]}, both with seed 0, AdamW and averaged weights:

1. `python -m zoo.training tiny-vae`: 2,300 steps of 8 of 24,576 {DATA}, absolute and squared error of pixels, absolute error of
   their differences, and 5e-4 of the KL divergence, from the weights of an autoencoder of geometric shapes (commit 75f182f has it); 1,839 s. This gave the encoder, and 31.3 dB.
2. `python -m zoo.training tiny-vae-decoder`: {f["steps"]:,} more steps of the decoder alone, from latents with a little noise; {f["seconds"]:,} s. The encoder, and
   so the latents, did not change.

The figure: `python -m zoo.training tiny-vae --measure`.

{CREDIT}

**Limits.** It was trained on one drawing on a soft background; photographs come out blurred.
"""
f = F["tiny-vit"]
BODY["tiny-vit"] = f"""A vision transformer (Dosovitskiy et al., arXiv 2010.11929; `ViTForImageClassification` in transformers) that classifies a hundred things drawn as
emoji: 64 patches of 8x8 pixels and a class token. It measures the samples of the small generators, and is the first model of Look inside.

**Quality.** Accuracy {pct(f["all"], 2)} on 4,096 held-out pictures, {pct(f["worst_class"], 2)} on the worst class.

**How it was made.** `python -m zoo.training tiny-vit`: seed 0, 1,300 steps of 128 of 49,152 {DATA}, half of each batch with a little
noise, a quarter blurred, cross-entropy with label smoothing 0.05, Muon for the matrices of the blocks and AdamW for the rest, averaged weights. 1,993 s on one
of {HARD}

{CREDIT}

**Limits.** It was trained on these hundred things only: it names one of them for any picture.
"""
f = F["tiny-swin"]
BODY["tiny-swin"] = f"""Swin (Liu et al., arXiv 2103.14030; `SwinForImageClassification` in transformers) small enough for a laptop: 32 x 32 patches of 2x2 pixels, windows of 4 x 4 patches,
shifted by two in every second block, in four stages of 32, 16, 8 and 4 patches a side, between which four patches become one. It is bundled for Look inside.

**Quality.** Accuracy {pct(f["all"], 2)} on 4,096 held-out pictures, {pct(f["worst_class"], 2)} on the worst class.

**How it was made.** `python -m zoo.training tiny-swin`: seed 0, {f["steps"]:,} steps of 128 of 49,152 {DATA}, half of each batch with a little
noise, a quarter blurred, cross-entropy with label smoothing 0.05, Muon for the matrices of the blocks and AdamW for the rest, averaged weights. {f["seconds"]:,} s on
one of {HARD}

{CREDIT}

**Limits.** It was trained on these hundred things only: it names one of them for any picture.
"""
f = F["tiny-vivit"]
BODY["tiny-vivit"] = f"""A video vision transformer (ViViT, Arnab et al., arXiv 2103.15691, its first model: space-time attention over tubelets; `VivitForVideoClassification` in
transformers) that classifies sixteen things and six motions: 128 tubelets of 2 frames of 16x16 pixels and a class token. It measures the samples of `tiny-latte`.

**Quality.** Accuracy {pct(f["all"], 2)} on 1,024 held-out clips, {pct(f["worst_class"], 2)} on the worst class.

**How it was made.** `python -m zoo.training tiny-vivit`: seed 0, {f["steps"]:,} steps of 32 of 6,144 clips (`zoo/training/clips.py`), half of each batch with a little noise,
cross-entropy with label smoothing 0.05, AdamW, averaged weights. {f["seconds"]:,} s on one of {HARD}

{CREDIT}

**Limits.** It was trained on these things and motions only: it names one of them for any clip.
"""
for name, body in BODY.items():
    page = Path(f"model_cards/{name}.md"); text = page.read_text()
    front, _ = re.split(r"(?<=\n---\n)\n", text, maxsplit=1)
    f = F[name]
    if name == "tiny-vae": m = f"{{psnr_db: {f['psnr_db']:.2f}}}"
    elif "all" in f: m = f"{{accuracy: {f['all']:.4f}, accuracy_worst_class: {f['worst_class']:.4f}}}"
    else: m = "{" + ", ".join(f"{k}: {v:.3f}" for k, v in f.items() if k.startswith(("guided", "unguided", "ddpm", "flicker"))) + "}"
    front = re.sub(r"measured: .*", f"measured: {m}", front)
    if name in W: front = re.sub(r"guidance: \{default: [\d.]+", f"guidance: {{default: {float(W[name])}", front)
    front = re.sub(r"(cost: \{params: \d+, gmacs: )[\d.]+", lambda k: k[0] if "gmacs" not in f else f"{k[1]}{f['gmacs']}", front)
    page.write_text(front + "\n" + body)
