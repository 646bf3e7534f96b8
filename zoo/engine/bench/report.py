"""The report of a bench as a person reads it."""

from __future__ import annotations

from typing import Any


def text(report: dict[str, Any]) -> str:
    """A report as lines of plain English."""
    machine, model, request = report["machine"], report["model"], report["request"]
    by = "processor time" if report["clock"] == "cpu" else "the clock"
    guided = f"guided (w = {request['guidance']:g}) " if request["guidance"] != 1 else ""
    weights, flags = (
        "its own weights" if model["own_weights"] else "random weights",
        " with " * bool(machine["flags"]) + " ".join(machine["flags"]),
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    size, loads = f"{model['parameters'] / 1e6:.1f} M parameters", [number(machine[f"load_{when}"]) for when in ("before", "after")]
    threads = counted(machine["threads"], "thread")
    parts = [
        f"{model['title']} ({model['id']}, {size}), {weights}, {report['dtype']}, on {machine['device']}, {threads}",
        f"{machine['accelerator'] or machine['processor']}, {counted(machine['cores'], 'core')}{flags}; {versions}",
        f"Load average {loads[0]} before, {loads[1]} after. Medians of {counted(report['rounds'], 'round')}; ratios are of {by}.",
        _table(f"One {guided}step, the network alone", report, report["step"], "ours"),
        _table(f"{request['steps']} {guided}steps (ddim), not decoded", report, report["loop"], "ours"),
    ]
    if report["whole"]:
        parts.append(_table(f"A whole picture of {request['steps']} {guided}steps", report, report["whole"], "bare"))
        ratio = report["whole"]["previews_over_none"][report["clock"]]
        first = report["whole"]["first_preview_seconds"]
        came = f"the first comes after {seconds(first)}" if first is not None else "none came"
        parts[-1] += f"\n  Previews make it {ratio:.2f} times as long; {came}."
    loading = report["loading"]
    memory = "not known here" if loading["peak_bytes"] is None else f"{loading['peak_bytes'] / 1e6:,.0f} MB"
    parts.append(
        f"Loading takes {seconds(loading['first_seconds'])} the first time, {seconds(loading['again_seconds'])} again. "
        f"Memory of loading and a first picture: {memory}."
    )
    if report["visitors"]:
        parts.append(_visitors(report["visitors"]))
    parts += ["\n".join(report["notes"])] * bool(report["notes"]) + [report["doubt"]] * bool(report["doubt"])
    return "\n".join(parts[:3]) + "\n\n" + "\n\n".join(parts[3:])


def _table(title: str, report: dict[str, Any], part: dict[str, Any], reference: str) -> str:
    head = f"{title}\n  {'':<32}{'processor':>11}{'clock':>11}{'times ' + reference:>12}{'rounds vary':>13}{'differs by':>12}"
    lines = [
        f"  {row['name']:<32}{seconds(row['cpu_seconds']):>11}{seconds(row['wall_seconds']):>11}"
        f"{row['ratio_' + report['clock']]:>12.2f}{100 * row['variation']:>11.0f} %"
        + (f"{row['difference']:>12.0e}" if row["difference"] else "")
        for row in part["rows"]
    ]
    return "\n".join([head if any(row["difference"] for row in part["rows"]) else head.removesuffix(f"{'differs by':>12}"), *lines])


def _visitors(crowd: dict[str, Any]) -> str:
    lines = [f"{counted(crowd['visitors'], 'visitor')} at once, {crowd['each']} pictures of {crowd['steps']} steps each, with previews"]
    for name, key in (("at once", "together"), ("one after another", "alone")):
        one = crowd[key]
        lines.append(
            f"  {name:<20}{one['images_a_minute']:>8.1f} images a minute; wait for one: median {seconds(one['median_wait_seconds'])}, "
            f"worst {seconds(one['worst_wait_seconds'])}" + f"; {one['refusals']} refused" * bool(one["refusals"])
        )
    growth = crowd["memory_growth_bytes"]
    lines.append(
        f"  {crowd['ratio']:.2f} times as many at once; {crowd['same_pixels']} of {crowd['images']} have the same pixels as alone; "
        f"memory grew by {'an unknown amount' if growth is None else f'{growth / 1e6:.0f} MB'}."
    )
    return "\n".join(lines)


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    return f"{1000 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def number(value: float | None) -> str:
    """A load average, or that there is none."""
    return "not known" if value is None else f"{value:.1f}"


def counted(count: int, word: str) -> str:
    """A number and its word, such as 2 rounds."""
    return f"{count} {word}{'s' * (count != 1)}"
