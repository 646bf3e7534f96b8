"""Write the Chinese twins of the bundled cards' prose: python cards_zh.py FIGURES.json (run in the tree, beside cards_en.py)."""
import json, sys
from pathlib import Path
F = json.loads(Path(sys.argv[1]).read_text())
CREDIT = """**图案来源。** 所用图案为 Noto Emoji 及其最初版本（Google，Apache-2.0）、Fluent Emoji 和 Fluent Emoji Flat（Microsoft，MIT）、Twemoji（Twitter 及其贡献者，CC BY 4.0）以及 Emoji One v2（CC BY 4.0）；训练模型时才按名称和摘要值从 Iconify 的 npm 软件包中下载（`zoo/training/drawings.py`），并不随模型一同分发。"""
REMEMBERS = "这种规模的模型会记住所学的图案："
MEMORY = REMEMBERS + "每个样本都与其类别的六个图案之一相近，页面会显示最接近的那一个。"
THINGS = "一百种事物，每种六个图案，经平移、倾斜、缩放和镜像后置于柔和的背景上"
LATENTS = f"来自数据集“emoji”（`zoo/training/emoji.py`：{THINGS}）的 24,576 张图片，由 `tiny-vae` 一次性编码"
PICTURES = f"数据集“emoji”（`zoo/training/emoji.py`：{THINGS}）的"
MUON = "块中的矩阵用 Muon，其余参数用 AdamW"
RATE = "学习率先保持不变，在最后 40 % 的步数中线性下降；权重在约 1,000 步上取平均"
BEFORE = "的初始值取自同样规模、用十种几何形状训练过的模型（见提交 75f182f）。"
SMALL = "一百种事物，每次一个，64x64 像素；图案和背景由噪声决定。"
CORES = "2 个 CPU 核心（AMD EPYC，bfloat16 自动混合精度）"
STORED = "未用 GPU。以 bfloat16 存储。"

def pct(x, n=1): return f"{100*x:.{n}f} %"
def both(seconds, word=""): return f"在 {CORES}上{word}用时 {seconds:,} 秒，{STORED}"
def one(seconds): return f"在 {CORES}中的一个上用时 {seconds:,} 秒，{STORED}"

def table(name, w):
    f = F[name]
    rows = [("dpm-solver++", 25, w, "guided"), ("dpm-solver++", 25, "关", "unguided"), ("ddpm", 250, w, "ddpm_250")]
    t = ["| 求解器 | 步数 | 引导强度 | 识别率 | 最差类别 |", "|---|--:|--:|--:|--:|"]
    t += [f"| {s} | {n} | {g} | {pct(f[k+'_all'])} | {pct(f[k+'_worst_class'])} |" for s, n, g, k in rows]
    return "\n".join(t)

def generator(name, text, made, limits, w):
    f = F[name]
    return f"""{text}

![每个类别一个使用引导的样本]({name}.png)

**质量。** {f["images"]:,} 张图片（每类 {f["images"]//100} 张，种子 0 至 {f["images"]-1}）中，被 `tiny-vit` 认出为所要类别的比例：

{table(name, w)}

**制作过程。** {made}表中数值由 `python -m zoo.training {name} --measure --images {f["images"]}` 得出，图片由 `--sheet` 生成。

{CREDIT}

**局限。** {limits}{MEMORY}
"""
W = F["guidance"]
BODY = {}
BODY["tiny-dit"] = generator("tiny-dit", "小到笔记本电脑就能运行的 DiT（Peebles 和 Xie，arXiv 2212.09748）：类别条件生成，adaLN-Zero 块，64 个词元，每个由 2x2 的潜变量构成，方差由模型学习，引导作用于四个通道中的前三个。DiT-XL/2 所作的计算它一样不少，只是块更少、也更窄。",
f"`python -m zoo.training tiny-dit`，种子 0：8,000 步，每步 32 个潜变量（前 260 步为 64 个），{LATENTS}；预测噪声，损失按 min-SNR-5 加权，方差用变分下界训练，随机丢弃 10 % 的标签；{MUON}；{RATE}。接着是 `python -m zoo.training tiny-dit-more`，种子 1：以同样的方式再训练 4,000 步。块中参数{BEFORE}{both(F['tiny-dit']['seconds'], '总共')}",
SMALL, W["tiny-dit"])
BODY["tiny-uvit"] = generator("tiny-uvit", "小到笔记本电脑就能运行的 U-ViT（Bao 等，arXiv 2209.12152）：时间和类别与 64 个图像块一样都是词元，长跳跃连接把浅层的块与深层的块连在一起，与 U-ViT-H/2 相同。训练所用的图片与 tiny DiT 相同，因此两者可以在相同的噪声上比较。",
f"`python -m zoo.training tiny-uvit`：种子 0，{F['tiny-uvit']['steps']:,} 步，每步 32 个潜变量，{LATENTS}；预测噪声，损失按 min-SNR-5 加权，随机丢弃 10 % 的标签；{MUON}；{RATE}。块中参数{BEFORE}{both(F['tiny-uvit']['seconds'])}",
SMALL, W["tiny-uvit"])
BODY["tiny-unet"] = generator("tiny-unet", "与各扩散 Transformer 作比较的卷积基线：Ho 等（arXiv 2006.11239）的 U-Net，按 diffusers 的 `UNet2DModel` 构建，规模和计算量与 tiny DiT 相近。3x3 卷积的残差块分为三级，每边分别有 16、8 和 4 个位置，较小的两级带有自注意力；时间和类别在每个残差块中加入。噪声调度、自编码器和数据都与 tiny DiT 相同，因此两者可以在相同的噪声上比较。",
f"`python -m zoo.training tiny-unet`：种子 0，{F['tiny-unet']['steps']:,} 步，每步 32 个潜变量，{LATENTS}；预测噪声，损失按 min-SNR-5 加权，随机丢弃 10 % 的标签；优化器为 AdamW；{RATE}。参数{BEFORE}{both(F['tiny-unet']['seconds'])}",
SMALL + "它的注意力由 diffusers 计算，无法记录。", W["tiny-unet"])
f = F["tiny-latte"]
BODY["tiny-latte"] = f"""小到笔记本电脑就能运行的 Latte（Ma 等，arXiv 2401.03048）：十六帧，每帧 64x64 像素；各块交替使用帧内注意力（64 个词元，每个由 2x2 的潜变量构成）和同一位置在时间上的注意力；adaLN，方差由模型学习，引导作用于全部四个通道。类别说明画面中是什么、怎样运动（如“火箭向上飞”）：十六种事物，六种运动。

![每六个类别取一个，各一段使用引导的视频，隔帧显示](tiny-latte.png)

**质量。** 在 {f["images"]} 个使用引导的样本中，事物和运动都被 `tiny-vivit` 认出的占 {pct(f["guided_all"])}（最差的类别为 {pct(f["guided_worst_class"])}，每类 {f["images"]//96} 个），采用 25 步 dpm-solver++，w = {W["tiny-latte"]}。闪烁，即帧与帧之间二阶差分的平均值，是 {f["images"]} 段留出视频的 {f["flicker_ratio"]:.2f} 倍。两个数值都可用 `python -m zoo.training tiny-latte --measure --images {f["images"]}` 重新测得。

**制作过程。** `python -m zoo.training tiny-latte`：种子 0，{f["steps"]:,} 步，每步取 6,144 段视频（`zoo/training/clips.py`）中的 4 段，由 `tiny-vae` 编码。训练从 `tiny-dit` 的权重开始，正如作者从 DiT 的权重开始：同样的六个块，其中每隔一个块改为在时间上计算注意力。损失以预测噪声为目标，按 min-SNR-5 加权，并在噪声大时提高权重（最多 100 倍），因为运动正是在那时确定的；随机丢弃 10 % 的标签；{MUON}；权重取平均。{one(f["seconds"])}

{CREDIT}

**局限。** 它只认识这些事物和运动，每次一个；图案和背景由噪声决定。{REMEMBERS}画面中运动的事物与其类别的六个图案之一相近。
"""
f = F["tiny-vae"]
BODY["tiny-vae"] = f"""各小型生成模型的自编码器：把 64x64 的 RGB 图片变为 4 通道、16x16 个位置的潜变量（下采样 4 倍），也可反向还原。其架构与 Stable Diffusion 的自编码器（Rombach 等，arXiv 2112.10752；diffusers 中的 `AutoencoderKL`）相同，但更窄，且不带注意力。

**质量。** 1,024 张留出图片的平均 PSNR 为 {f["psnr_db"]:.2f} dB，由潜变量的均值解码。

**制作过程。** 在 {CORES}上训练，未用 GPU，以 bfloat16 存储；两步都采用种子 0、AdamW 和取平均的权重：

1. `python -m zoo.training tiny-vae`：2,300 步，每步取{PICTURES} 24,576 张图片中的 8 张，损失为像素的绝对误差和平方误差、相邻像素之差的绝对误差，以及 5e-4 倍的 KL 散度；从几何形状的自编码器的权重（见提交 75f182f）开始训练；用时 1,839 秒。由此得到编码器，PSNR 为 31.3 dB。
2. `python -m zoo.training tiny-vae-decoder`：只对解码器再训练 {f["steps"]:,} 步，输入是加了少许噪声的潜变量；用时 {f["seconds"]:,} 秒。编码器没有改变，潜变量因此也没有改变。

数值由 `python -m zoo.training tiny-vae --measure` 得出。

{CREDIT}

**局限。** 训练图片都是柔和背景上的一个图案；照片还原后会变得模糊。
"""
NOISY = "每批有一半加了少许噪声，四分之一作了模糊处理；交叉熵，标签平滑 0.05；"
ANY = "**局限。** 只用这一百种事物训练过：无论给它什么图片，它都会答出其中一种。"
f = F["tiny-vit"]
BODY["tiny-vit"] = f"""给一百种以 emoji 画出的事物分类的视觉 Transformer（Dosovitskiy 等，arXiv 2010.11929；transformers 中的 `ViTForImageClassification`）：64 个 8x8 像素的图像块和一个类别词元。各小型生成模型的样本由它评测，它也是“查看内部”的第一个模型。

**质量。** 4,096 张留出图片上的准确率为 {pct(f["all"], 2)}，最差类别为 {pct(f["worst_class"], 2)}。

**制作过程。** `python -m zoo.training tiny-vit`：种子 0，1,300 步，每步取{PICTURES} 49,152 张图片中的 128 张，{NOISY}{MUON}；权重取平均。{one(1993)}

{CREDIT}

{ANY}
"""
f = F["tiny-swin"]
BODY["tiny-swin"] = f"""小到笔记本电脑就能运行的 Swin（Liu 等，arXiv 2103.14030；transformers 中的 `SwinForImageClassification`）：32 x 32 个 2x2 像素的图像块，窗口由 4 x 4 个图像块组成，每隔一个块将窗口移位两个图像块；共四个阶段，每边分别有 32、16、8 和 4 个图像块，阶段之间每四个图像块合并为一个。它是为“查看内部”而随附的。

**质量。** 4,096 张留出图片上的准确率为 {pct(f["all"], 2)}，最差类别为 {pct(f["worst_class"], 2)}。

**制作过程。** `python -m zoo.training tiny-swin`：种子 0，{f["steps"]:,} 步，每步取{PICTURES} 49,152 张图片中的 128 张，{NOISY}{MUON}；权重取平均。{one(f["seconds"])}

{CREDIT}

{ANY}
"""
f = F["tiny-vivit"]
BODY["tiny-vivit"] = f"""给十六种事物和六种运动分类的视频视觉 Transformer（ViViT，Arnab 等，arXiv 2103.15691，采用其第一个模型：在时空块之间计算时空注意力；transformers 中的 `VivitForVideoClassification`）：128 个时空块（tubelet），每个为 2 帧、16x16 像素，外加一个类别词元。`tiny-latte` 的样本由它评测。

**质量。** 1,024 段留出视频上的准确率为 {pct(f["all"], 2)}，最差类别为 {pct(f["worst_class"], 2)}。

**制作过程。** `python -m zoo.training tiny-vivit`：种子 0，{f["steps"]:,} 步，每步取 6,144 段视频（`zoo/training/clips.py`）中的 32 段，每批有一半加了少许噪声；交叉熵，标签平滑 0.05；AdamW；权重取平均。{one(f["seconds"])}

{CREDIT}

**局限。** 只用这些事物和运动训练过：无论给它什么视频，它都会答出其中一种。
"""
for name, body in BODY.items():
    Path(f"model_cards/zh-CN/{name}.md").write_text(body, encoding="utf-8")
