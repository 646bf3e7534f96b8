"""What the controls are about: one entry a concept, with its formula, its paper and one thing to try, and which control leads to which."""

from __future__ import annotations

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A concept of the field in two or three sentences; formula: LaTeX; arxiv: number of the paper there; attempt: what to do here."""

    term: str
    words: str
    formula: str
    paper: str
    year: int
    arxiv: str
    attempt: str


DIT, UVIT, VIT, DDPM = (
    ("Peebles, Xie", 2022, "2212.09748"),
    ("Bao et al.", 2022, "2209.12152"),
    ("Dosovitskiy et al.", 2020, "2010.11929"),
    ("Ho, Jain, Abbeel", 2020, "2006.11239"),
)

ENTRIES: dict[str, Entry] = {
    "diffusion-transformer": Entry(
        "Diffusion transformer",
        "A transformer that is trained to take noise away. The noisy picture is cut into patches, each patch becomes a token, and the "
        "blocks of the transformer let all tokens look at each other. It replaces the U-Net, which works with convolutions.",
        r"\hat\epsilon = \epsilon_\theta(x_t,\; t,\; y)",
        *DIT,
        "On Compare, set column A to a DiT and column B to a U-Net, and press Compare: both start from the same noise.",
    ),
    "patch-embedding": Entry(
        "Patch embedding",
        "The picture is cut into squares of p by p pixels, and one matrix maps the numbers of each square to a token. "
        "Smaller patches give more tokens, finer detail and more work: half the side means four times as many tokens.",
        r"z_i = E\,\mathrm{vec}(x_{\text{patch } i}) + b, \qquad n = \frac{H W}{p^2}",
        *VIT,
        "On Look inside, open the tokens and move the slider Try another patch size: tokens and multiply-adds are counted anew.",
    ),
    "position-embedding": Entry(
        "Position embedding",
        "Attention does not know in which order its tokens stand, so each place of the grid adds its own vector to the token. "
        "It is a fixed table of sines and cosines, or it is learnt; then neighbours become similar by themselves.",
        r"\mathrm{PE}(i, 2k) = \sin\!\left(\frac{i}{10000^{2k/d}}\right), "
        r"\quad \mathrm{PE}(i, 2k+1) = \cos\!\left(\frac{i}{10000^{2k/d}}\right)",
        "Vaswani et al.",
        2017,
        "1706.03762",
        "On Look inside, click another patch and read the step about its position: the map shows which places are similar to it.",
    ),
    "token": Entry(
        "Token",
        "A token is a vector of d numbers that stands for one patch of the picture. A transformer changes tokens and never the number of "
        "them; special tokens, such as the class token of a vision transformer, stand beside those of the patches.",
        r"z \in \mathbb{R}^{n \times d}",
        *VIT,
        "On Look inside, choose the class token as the Query where the model has one: the map shows which patches it reads.",
    ),
    "attention": Entry(
        "Attention",
        "Each token asks with a query vector, and every token answers with a key vector. The better the two match, the more of that "
        "token's value goes into the result. The shares of one query are positive and add up to 1.",
        r"\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) V",
        "Vaswani et al.",
        2017,
        "1706.03762",
        "On Look inside, click a patch of the picture: the map beside it is the row of the matrix for that query.",
    ),
    "attention-head": Entry(
        "Attention head",
        "A layer does not compute one attention map but several beside each other, each with its own small queries, keys and values. "
        "Some heads look at neighbours, others at the whole picture. Their results are joined and mixed by one matrix.",
        r"\mathrm{MultiHead}(z) = [\mathrm{head}_1, \dots, \mathrm{head}_k]\, W^O",
        "Vaswani et al.",
        2017,
        "1706.03762",
        "On Look inside, set Combine heads to one head and move the slider Head through all of them.",
    ),
    "attention-rollout": Entry(
        "Attention rollout",
        "One layer's map does not say from which patches its tokens got their content. Rollout multiplies the maps of all layers up to "
        "here; the identity matrix stands for the residual connection, by which a token keeps what it had.",
        r"\tilde A = \prod_{l=1}^{L} \tfrac12\left(A^{(l)} + I\right)",
        "Abnar, Zuidema",
        2020,
        "2005.00928",
        "On Look inside, set Combine heads to rollout and compare the map with the mean of all heads.",
    ),
    "class-relevance": Entry(
        "Class relevance",
        "Attention says where a model looks, and not what that did for its answer. Here each map is weighted by the gradient of one "
        "class's output, negative values are dropped, and the layers are chained: what remains spoke for this class.",
        r"\bar A = \mathbb{E}_h\!\left[(\nabla A \odot A)^+\right], \qquad R \leftarrow R + \bar A\, R",
        "Chefer, Gur, Wolf",
        2021,
        "2103.15679",
        "On Look inside, set Combine heads to relevance and choose another Class to explain.",
    ),
    "class-condition": Entry(
        "Class condition",
        "The network is told what it shall draw: each class has a vector of its own, which is learnt. In a DiT it is added to the vector "
        "of the time and steers every block; in a U-ViT it is one more token.",
        r"c = e_t(t) + e_y(y)",
        *DIT,
        "Keep the seed, choose another Class and press Generate: the noise is the same, and the layout often stays.",
    ),
    "text-condition": Entry(
        "Text condition",
        "A text encoder turns the prompt into a row of vectors. In cross-attention the queries come from the picture's tokens, keys and "
        "values from the text, so each patch reads the words that concern it.",
        r"\mathrm{softmax}\!\left(\frac{(z W_Q)(c W_K)^\top}{\sqrt{d}}\right) c\, W_V",
        "Rombach et al.",
        2021,
        "2112.10752",
        "On Models, open a model that takes a prompt, and read on its card which text encoder it uses.",
    ),
    "classifier-free-guidance": Entry(
        "Classifier-free guidance",
        "At each step the network runs twice, with the class and without it, and the difference of the two is enlarged. "
        "In training the class was sometimes left out (the null label), so that one network can do both.",
        r"\hat\epsilon = \epsilon_\theta(x_t, \varnothing) + w\,\left(\epsilon_\theta(x_t, y) - \epsilon_\theta(x_t, \varnothing)\right)",
        "Ho, Salimans",
        2022,
        "2207.12598",
        "On Look inside, record a run of a diffusion transformer and tick Without the class: it shows the second pass.",
    ),
    "guidance-scale": Entry(
        "Guidance scale",
        "The number w says how far the two passes of classifier-free guidance are driven apart. At 1 there is no guidance; "
        "a larger w makes the class clearer and the samples more alike, and far too large a w burns the colours.",
        r"\nabla_x \log \tilde p(x \mid y) = \nabla_x \log p(x) + w\, \nabla_x \log p(y \mid x)",
        "Ho, Salimans",
        2022,
        "2207.12598",
        "Keep the seed and set Guidance w to 1, then to 4: the same noise becomes a vaguer and a clearer picture.",
    ),
    "noise-seed": Entry(
        "Seed and noise",
        "Sampling starts from a picture of random numbers, one for each value of the latent. The seed is the number from which they are "
        "drawn: the same seed, model and settings give the same picture, bit by bit.",
        r"x_T \sim \mathcal{N}(0, I)",
        *DDPM,
        "Write 7 into Seed and press Generate twice: the page says that the second picture is identical if you restored the first.",
    ),
    "sampling-steps": Entry(
        "Sampling steps",
        "Noise is taken away in steps, and each step costs one evaluation of the network, or two with guidance. "
        "With more steps the path is followed more exactly; from some number on nobody sees a difference.",
        r"x_T \to x_{t_{N-1}} \to \dots \to x_{t_1} \to x_0",
        *DDPM,
        "Keep the seed and set Steps to 5, to 25 and to 100; the time that a run takes grows with it.",
    ),
    "ddpm": Entry(
        "DDPM",
        "The sampler of the first diffusion papers: each step takes away the noise that was predicted and adds a little fresh noise. "
        "It needs many steps: DiT's paper takes 250.",
        r"x_{t-1} = \frac{1}{\sqrt{\alpha_t}}"
        r"\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t, t)\right) + \sigma_t z",
        *DDPM,
        "Set Solver to ddpm and Steps to 20, then to 250, with the same seed.",
    ),
    "ddim": Entry(
        "DDIM and eta",
        "A sampler that jumps to the clean prediction and from there back to a smaller noise. With eta 0 no fresh noise is added, so one "
        "noise always leads to one picture and few steps do; eta 1 adds as much as DDPM.",
        r"x_{s} = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\;\hat\epsilon + \sigma z, \qquad \sigma \propto \eta",
        "Song, Meng, Ermon",
        2020,
        "2010.02502",
        "Set Solver to ddim, open More, and move DDIM eta from 0 to 1 with the same seed.",
    ),
    "dpm-solver": Entry(
        "DPM-Solver++",
        "Sampling is the solution of a differential equation, of which one part is known exactly. This solver approximates the rest from "
        "the last two or three clean predictions, so about 20 steps are enough.",
        r"x_{t} = \frac{\sigma_t}{\sigma_s} x_s - \alpha_t\left(e^{-h}-1\right) D, "
        r"\qquad D = \left(1+\tfrac{1}{2r}\right)\hat x_0^{(s)} - \tfrac{1}{2r}\hat x_0^{(s')}",
        "Lu et al.",
        2022,
        "2211.01095",
        "Set Steps to 10 and take Solver dpm-solver++, then ddim, with the same seed: which picture is finished?",
    ),
    "noise-schedule": Entry(
        "Noise schedule",
        "It says how much of the picture and how much noise a sample holds at each time t. Early in sampling nearly everything is noise "
        "and the layout is decided; late little noise is left, and detail is drawn.",
        r"x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon",
        "Nichol, Dhariwal",
        2021,
        "2102.09672",
        "After a comparison, move its slider Equal noise in all columns: the columns are shown where their samples are equally noisy.",
    ),
    "clean-prediction": Entry(
        "Clean prediction x_0",
        "From the noisy sample and the predicted noise follows what the finished picture would be if this step were the last. "
        "At the start it is a blur, the mean of all that is possible; detail comes with each step.",
        r"\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\hat\epsilon}{\sqrt{\bar\alpha_t}}",
        *DDPM,
        "After a run, move the slider Step and switch Show between the clean prediction and the noisy sample.",
    ),
    "epsilon-prediction": Entry(
        "Noise prediction",
        "The network is not trained to draw a picture but to say which noise was mixed in: its output is compared with the noise that "
        "was added. Which of noise, picture or velocity it predicts is a matter of form; each follows from the others.",
        r"L = \mathbb{E}_{x_0, \epsilon, t}\left\| \epsilon - \epsilon_\theta(x_t, t) \right\|^2",
        *DDPM,
        "After a run, set Show to the noisy sample: the noise that you see is what the network predicts and takes away.",
    ),
    "latent": Entry(
        "Latent and autoencoder",
        "An autoencoder presses a picture into a small grid of numbers, the latent, and its decoder makes the picture again. "
        "Diffusion works on the latent, which is far less work; another decoder of the same shape changes fine detail alone.",
        r"z = s \cdot \mathcal{E}(x), \qquad \hat x = \mathcal{D}(z / s)",
        "Rombach et al.",
        2021,
        "2112.10752",
        "On Models, open the card of an autoencoder; where a model has several, Autoencoder stands under More.",
    ),
    "adaln-zero": Entry(
        "adaLN-Zero",
        "This is how a DiT tells its blocks the time and the class: from their vector come a scale, a shift and a gate for each block. "
        "The gates start at zero, so that at first every block does nothing, which makes training steady.",
        r"z \leftarrow z + \alpha(c) \odot F\!\left(\gamma(c) \odot \mathrm{LN}(z) + \beta(c)\right)",
        *DIT,
        "On Look inside, record a run of a DiT and press Show this view at up to 8 steps: the plot of the modulation changes with time.",
    ),
    "long-skips": Entry(
        "Long skips of the U-ViT",
        "A U-ViT joins the tokens of its early blocks to those of the late blocks, as a U-Net does with its maps. "
        "Fine detail of the noisy picture reaches the end this way, without a detour through the middle.",
        r"z_{L-l} \leftarrow W\,[\,z_{L-l},\; z_{l}\,]",
        *UVIT,
        "On Look inside, record a run of a U-ViT and set Scale of this skip to 0: the picture shows what it carried.",
    ),
    "swin-windows": Entry(
        "Swin windows",
        "A Swin transformer looks inside small windows, so the work grows with the number of patches and not with its square. "
        "Every second layer shifts the windows by half their side, so that neighbours across a border meet.",
        r"\Omega = 4 n d^2 + 2 M^2 n d \qquad (M \times M \text{ patches a window})",
        "Liu et al.",
        2021,
        "2103.14030",
        "On Look inside, choose a Swin as the Model and move Layer by one: the border of the window moves.",
    ),
    "tubelets": Entry(
        "Tubelets",
        "A video can be cut not into squares but into small blocks that reach through two or more frames. "
        "One token then holds a bit of movement, and there are fewer tokens than with one grid a frame.",
        r"n = \frac{F}{f_p} \cdot \frac{H}{p} \cdot \frac{W}{p}",
        "Arnab et al.",
        2021,
        "2103.15691",
        "On Look inside, choose a ViViT as the Model and move Frame: the frames of one tubelet share their map.",
    ),
    "latte-blocks": Entry(
        "Spatial and temporal blocks",
        "Latte takes turns: in one block the tokens of a frame look at each other, in the next each place looks at itself through all "
        "frames. That is much less work than all tokens of all frames together.",
        r"\underbrace{F\,(hw)^2}_{\text{spatial}} + \underbrace{hw\,F^2}_{\text{temporal}} \;\ll\; (F\,hw)^2",
        "Ma et al.",
        2024,
        "2401.03048",
        "On Look inside, choose a Latte as the Model and move Layer: even layers are spatial, odd ones temporal.",
    ),
    "flicker": Entry(
        "Flicker",
        "What ought to stay the same from frame to frame changes a little nevertheless. It is measured as the mean difference of "
        "neighbouring frames, where a moving object counts as well: compare clips of the same motion.",
        r"\frac{1}{F-1}\sum_{f=1}^{F-1} \left\| x_{f+1} - x_f \right\|_1",
        "Huang et al.",
        2023,
        "2311.17982",
        "On Video, generate a clip and move Row of the space-time slice: flicker draws stripes, motion a slanted band.",
    ),
    "ema": Entry(
        "EMA weights",
        "While a network is trained its weights jump about. A second set follows them slowly, as a running mean, and draws better "
        "pictures: what is published, and what this hub runs, is that mean.",
        r"\bar\theta \leftarrow \beta\,\bar\theta + (1-\beta)\,\theta",
        "Karras et al.",
        2023,
        "2312.02696",
        "On Models, open the card of a model and read which of its weights are used.",
    ),
    "fid": Entry(
        "FID",
        "The Fréchet inception distance compares the features of many samples with those of real pictures, each as one normal "
        "distribution; smaller is better. It says little of a single picture, and needs thousands to be steady.",
        r"\mathrm{FID} = \|\mu_r - \mu_g\|^2 + \mathrm{tr}\!\left(\Sigma_r + \Sigma_g - 2\,(\Sigma_r \Sigma_g)^{1/2}\right)",
        "Heusel et al.",
        2017,
        "1706.08500",
        "On Models, read the FID that a model's paper reports; on Compare, add samples until the table tells their Fréchet distance.",
    ),
}
"""The concepts, by a short name."""

SETTINGS = {
    "model": "diffusion-transformer", "label": "class-condition", "prompt": "text-condition", "negative": "classifier-free-guidance",
    "count": "noise-seed", "seed": "noise-seed", "steps": "sampling-steps", "solver": "dpm-solver", "guidance": "guidance-scale",
    "eta": "ddim", "vae": "latent",
}  # fmt: skip
"""Which concept a setting leads to, by the end of its element id."""

OF_CONTROL: dict[str, str] = {
    **{f"{prefix}{word}": name for prefix in ("", "video-") for word, name in SETTINGS.items()},
    **{f"grid-{word}": SETTINGS[word] for word in ("model", "label", "prompt", "seed", "steps", "solver", "guidance")},
    **{f"compare-{word}": SETTINGS[word] for word in ("label", "prompt", "count", "seed")},
    **{f"compare-{word}-{column}": SETTINGS[word] for word in ("model", "steps", "solver", "guidance", "eta", "vae") for column in "ABCD"},
    **{f"look-{word}": SETTINGS[word] for word in ("label", "prompt", "seed", "steps")},
    "step": "clean-prediction", "shown": "epsilon-prediction", "video-step": "clean-prediction", "video-shown": "epsilon-prediction",
    "video-frames": "latte-blocks", "row": "flicker", "compare-noise": "noise-schedule",
    "look-model": "diffusion-transformer", "look-way": "attention-rollout", "look-layer": "attention", "look-head": "attention-head",
    "look-some": "attention-head", "look-target": "class-relevance", "look-query": "token", "look-frame": "tubelets",
    "look-step": "clean-prediction", "look-free": "classifier-free-guidance", "look-patch": "patch-embedding", "look-skip": "long-skips",
    "look-factor": "long-skips",
}  # fmt: skip
"""The concept that a control leads to, by its element id."""


def marks() -> dict[str, dict[str, str]]:
    """What the browser must know before anybody asks: the concept of every control, and the names of the concepts."""
    return {"of": OF_CONTROL, "terms": {name: entry.term for name, entry in ENTRIES.items()}}


def pages() -> str:
    """All entries as HTML; the place of a formula is empty, the browser puts it there."""
    return "".join(_page(name, entry) for name, entry in ENTRIES.items())


def formulas() -> str:
    """The formulas of all entries in their order as Markdown, one a paragraph."""
    return "\n\n".join(f"$${entry.formula}$$" for entry in ENTRIES.values())


def _page(name: str, entry: Entry) -> str:
    source = f'<a href="https://arxiv.org/abs/{entry.arxiv}" target="_blank" rel="noreferrer">arXiv:{entry.arxiv}</a>'
    return (
        f'<article data-term="{name}"><h3 tabindex="-1">{html.escape(entry.term)}</h3><p>{html.escape(entry.words)}</p>'
        f'<div class="learn-formula" tabindex="0" role="group" aria-label="Formula"></div>'
        f"<h4>Try this</h4><p>{html.escape(entry.attempt)}</p>"
        f"<h4>Paper</h4><p>{html.escape(entry.paper)}, {entry.year}, {source}</p></article>"
    )
