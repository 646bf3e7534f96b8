"""Quality and making of the bundled cards, in both languages: python cards2.py FIGURES.json (run in the tree)."""
import json, re, sys
from pathlib import Path
F = json.loads(Path(sys.argv[1]).read_text())
def pct(x, n=1): return f"{100*x:.{n}f} %"
EN = 'pictures of the data set "emoji" (`zoo/training/emoji.py`: a hundred things, six designs of each, shifted, tilted, scaled and mirrored on soft backgrounds)'
ZH = "来自数据集“emoji”（`zoo/training/emoji.py`：一百种事物，各有六种图案，经平移、倾斜、缩放和镜像，置于柔和的背景上），共 49,152 张"
GPU_EN, GPU_ZH = "on one NVIDIA H100, which trained the other generators at the same time (bfloat16 autocast). Stored in bfloat16.", "（一块 NVIDIA H100，同时训练其他生成模型，bfloat16 自动混合精度）。以 bfloat16 存储。"
CPU_EN, CPU_ZH = "on one of 2 CPU cores (AMD EPYC, bfloat16 autocast), no GPU. Stored in bfloat16.", "在 2 个 CPU 核心（AMD EPYC，bfloat16 自动混合精度）中的一个上"
RATE_EN = "constant rate and then a linear fall over the last 40 %, weights averaged over about 1,000 steps"
RATE_ZH = "学习率先保持不变，在最后 40 % 的步数中线性下降；权重在约 1,000 步上取平均"
MUON_EN, MUON_ZH = "Muon for the matrices of the blocks and AdamW for the rest", "块中的矩阵用 Muon，其余参数用 AdamW"
def replace(path, begin, end, text, front=None):
    t = path.read_text()
    a, b = t.index(begin), t.index(end)
    t = t[:a] + text.strip() + "\n\n" + t[b:]
    if front: t = re.sub(r"measured: .*", f"measured: {front}", t, count=1)
    path.write_text(t)
def both(name, en, zh, front):
    replace(Path(f"model_cards/{name}.md"), "**Quality.**", "**Drawings.**", en, front)
    replace(Path(f"model_cards/zh-CN/{name}.md"), "**质量。**", "**图案来源。**", zh)
def generator(name, how_en, how_zh):
    f = F[name]; n, k = f["images"], f["unguided_images"]
    rows = [(f["solver"], f["steps"], "3.0", n, "guided"), (f["solver"], f["steps"], None, k, "unguided")]
    def table(head, off): return head + "\n|---|--:|--:|--:|--:|--:|\n" + "\n".join(f"| {s} | {st} | {w or off} | {c:,} | {pct(f[key+'_all'])} | {pct(f[key+'_worst_class'])} |" for s, st, w, c, key in rows)
    en = f"""**Quality.** Share of pictures (as many of each class, seeds 0 and up) in which `tiny-vit` recognises the class that was asked for:

{table("| solver | steps | guidance | pictures | recognised | worst class |", "off")}

**How it was made.** `python -m zoo.training {name} --device cuda`: seed 0, {f["trained"]:,} steps of 128 latents of 49,152 {EN}, encoded once by `tiny-vae`; {how_en} {f["seconds"]} s {GPU_EN} The table: `python -m zoo.training {name} --measure --images {n}`; the picture: `--sheet`."""
    zh = f"""**质量。** 图像中被 `tiny-vit` 认出为所要类别的比例（各类张数相同，种子从 0 开始）：

{table("| 求解器 | 步数 | 引导强度 | 图像数 | 识别率 | 最差类别 |", "关")}

**制作过程。** `python -m zoo.training {name} --device cuda`：种子 0，{f["trained"]:,} 步，每步取 128 个潜变量，{ZH}图像，由 `tiny-vae` 一次性编码；{how_zh}用时 {f["seconds"]} 秒{GPU_ZH}表中数值由 `python -m zoo.training {name} --measure --images {n}` 得出，图像由 `--sheet` 生成。"""
    m = ", ".join(f"{key}: {f[key]:.4f}" for key in ("guided_all", "guided_worst_class", "unguided_all", "unguided_worst_class"))
    both(name, en, zh, f"{{{m}}}")
LOSS_EN, LOSS_ZH = "noise prediction with min-SNR-5 weights", "预测噪声，损失按 min-SNR-5 加权"
generator("tiny-dit", f"{LOSS_EN}, the variational bound for the variance, 10 % of the labels dropped, {MUON_EN}, {RATE_EN}. 437 of the steps had a gradient that was not finite, and were left out.",
 f"{LOSS_ZH}，方差用变分下界训练，随机丢弃 10 % 的标签；{MUON_ZH}；{RATE_ZH}。其中 437 步的梯度不是有限值，已略去。")
generator("tiny-sit", f"velocity prediction on the straight path from noise to latent, times even in [0, 1], 10 % of the labels dropped, {MUON_EN}, {RATE_EN}: the data, the seeds and the number of steps of tiny DiT.",
 f"沿从噪声到潜变量的直线路径预测速度，时间在 [0, 1] 上均匀分布，随机丢弃 10 % 的标签；{MUON_ZH}；{RATE_ZH}。数据、种子和步数都与 tiny DiT 相同。")
generator("tiny-uvit", f"{LOSS_EN}, 10 % of the labels dropped, {MUON_EN}, {RATE_EN}.", f"{LOSS_ZH}，随机丢弃 10 % 的标签；{MUON_ZH}；{RATE_ZH}。")
generator("tiny-unet", f"{LOSS_EN}, 10 % of the labels dropped, AdamW, {RATE_EN}.", f"{LOSS_ZH}，随机丢弃 10 % 的标签；优化器为 AdamW；{RATE_ZH}。")
f = F["tiny-vae"]
both("tiny-vae", f"""**Quality.** Mean PSNR {f["psnr_db"]:.2f} dB over 1,024 held-out pictures, decoded from the means of their latents.

**How it was made.** On one NVIDIA H100 (bfloat16 autocast), both with seed 0, AdamW and averaged weights. Stored in bfloat16.

1. `python -m zoo.training tiny-vae --device cuda`: 4,000 steps of 64 of 49,152 {EN}, absolute and squared error of pixels, absolute error of
   their differences, and 5e-4 of the KL divergence; 48 s. This gave the encoder, and 33.96 dB.
2. `python -m zoo.training tiny-vae-decoder --device cuda`: 1,400 more steps of the decoder alone, from latents with a little noise; 36 s. The encoder, and
   so the latents, did not change.

The figure: `python -m zoo.training tiny-vae --measure`.""",
f"""**质量。** 1,024 张留出图像的平均 PSNR 为 {f["psnr_db"]:.2f} dB，由潜变量的均值解码。

**制作过程。** 在一块 NVIDIA H100 上训练（bfloat16 自动混合精度），以 bfloat16 存储；两步都采用种子 0、AdamW 和取平均的权重：

1. `python -m zoo.training tiny-vae --device cuda`：4,000 步，每步取 64 张图像，{ZH}，损失为像素的绝对误差和平方误差、像素之差的绝对误差，再加上 5e-4 倍的 KL 散度；用时 48 秒。由此得到编码器，PSNR 为 33.96 dB。
2. `python -m zoo.training tiny-vae-decoder --device cuda`：只对解码器再训练 1,400 步，输入是加了少许噪声的潜变量；用时 36 秒。编码器没有改变，潜变量因此也没有改变。

数值由 `python -m zoo.training tiny-vae --measure` 得出。""", f"{{psnr_db: {f['psnr_db']:.2f}}}")
def judge(name, pictures, steps, batch, pool_en, pool_zh, extra_en, extra_zh, what):
    f = F[name]
    both(name, f"""**Quality.** Accuracy {pct(f["all"], 2)} on {what[0]}, {pct(f["worst_class"], 2)} on the worst class.

**How it was made.** `python -m zoo.training {name}`: seed 0, {steps:,} steps of {batch} of {pool_en}, {extra_en}cross-entropy with label smoothing 0.05, {MUON_EN}, averaged weights. {f["seconds"]:,} s {CPU_EN}""",
f"""**质量。** {what[1]}上的准确率为 {pct(f["all"], 2)}，最差类别为 {pct(f["worst_class"], 2)}。

**制作过程。** `python -m zoo.training {name}`：种子 0，{steps:,} 步，每步取 {batch} {pool_zh}，{extra_zh}交叉熵，标签平滑 0.05；{MUON_ZH}；权重取平均。{CPU_ZH}用时 {f["seconds"]:,} 秒，未用 GPU。以 bfloat16 存储。""",
f"{{accuracy: {f['all']:.4f}, accuracy_worst_class: {f['worst_class']:.4f}}}")
PIC = ("4,096 held-out pictures", "4,096 张留出图像")
NOISED = ("half of each batch with a little noise, a quarter blurred, ", "每批有一半加了少许噪声，四分之一作了模糊处理；")
judge("tiny-vit", None, 1300, 128, f"49,152 {EN}", f"张图像，{ZH}", *NOISED, PIC)
if F["tiny-swin"]["all"]: judge("tiny-swin", None, F["tiny-swin"]["steps"], 128, f"49,152 {EN}", f"张图像，{ZH}", *NOISED, PIC)
if F["tiny-vivit"]["all"]:
    judge("tiny-vivit", None, F["tiny-vivit"]["steps"], 64, "4,096 clips (`zoo/training/clips.py`)", "段视频，共 4,096 段（`zoo/training/clips.py`）", "half of each batch with a little noise, ", "每批有一半加了少许噪声；", ("1,024 held-out clips", "1,024 段留出视频"))
f = F["tiny-latte"]
if f["guided_all"]:
    both("tiny-latte", f"""**Quality.** In {pct(f["guided_all"])} of {f["images"]} guided samples `tiny-vivit` recognises thing and motion ({pct(f["guided_worst_class"])} of the worst class, of {f["images"]//96} each), the thing in {pct(f["thing"])}, the motion
in {pct(f["motion"])}: 25 steps of dpm-solver++, w = 3. Flicker, the mean second difference from frame to frame, is {f["flicker_ratio"]:.2f} times that of as many held-out clips.
`python -m zoo.training tiny-latte --measure --images {f["images"]}` measures it again.

**How it was made.** In two parts, both from clips (`zoo/training/clips.py`) encoded by `tiny-vae`, with noise-prediction loss, min-SNR-5 weights, raised at high noise (up to 100 times), where the
motion is decided, 10 % of the labels dropped, {MUON_EN}, averaged weights. Stored in bfloat16.

1. `python -m zoo.training tiny-latte --device cuda`: seed 0, 1,400 steps of 16 of 12,288 clips of all six sets of drawings, 30 s on one NVIDIA H100. It starts from the weights of `tiny-dit`, as
   the authors start from those of DiT: the same six blocks, of which every second now attends through time; each class starts with the vector of its thing.
2. `python -m zoo.training tiny-latte-more`: seed 1, {f["steps"]:,} steps of 4 of 4,096 clips of the flat set of Fluent, {f["seconds"]:,} s on one of 2 CPU cores (AMD EPYC, bfloat16 autocast).{f.get("note_en", "")}""",
f"""**质量。** 在 {f["images"]} 个使用引导的样本中，`tiny-vivit` 把事物和运动都认对的占 {pct(f["guided_all"])}（最差类别为 {pct(f["guided_worst_class"])}，每类 {f["images"]//96} 个），认对事物的占 {pct(f["thing"])}，认对运动的占 {pct(f["motion"])}；采用 25 步 dpm-solver++，w = 3。闪烁，即帧与帧之间二阶差分的平均值，是同样数量留出视频的 {f["flicker_ratio"]:.2f} 倍。这些数值可用 `python -m zoo.training tiny-latte --measure --images {f["images"]}` 重新测得。

**制作过程。** 分两步，都使用由 `tiny-vae` 编码的视频（`zoo/training/clips.py`）；损失以预测噪声为目标，按 min-SNR-5 加权，并在噪声大时提高权重（最多 100 倍），因为运动正是在那时确定的；随机丢弃 10 % 的标签；{MUON_ZH}；权重取平均。以 bfloat16 存储。

1. `python -m zoo.training tiny-latte --device cuda`：种子 0，1,400 步，每步取 16 段视频，共 12,288 段，六套图案都用，在一块 NVIDIA H100 上用时 30 秒。训练从 `tiny-dit` 的权重开始，正如作者从 DiT 的权重开始：同样的六个块，其中每隔一个块改为在时间上计算注意力；每个类别以其事物的向量为初始值。
2. `python -m zoo.training tiny-latte-more`：种子 1，{f["steps"]:,} 步，每步取 4 段视频，共 4,096 段，只用 Fluent 的扁平图案，在 2 个 CPU 核心（AMD EPYC，bfloat16 自动混合精度）中的一个上用时 {f["seconds"]:,} 秒。{f.get("note_zh", "")}""",
f"{{guided_all: {f['guided_all']:.4f}, guided_worst_class: {f['guided_worst_class']:.4f}, flicker_ratio: {f['flicker_ratio']:.2f}}}")
