"""Benchmark results as Markdown: every figure of a page is one on file."""

from typing import Any

__all__ = ["device", "number", "table"]


def number(value: float) -> str:
    """Three digits, or all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(rows: list[dict[str, Any]], *, ours: str = "ours", peer: str = "peer") -> str:
    """Rows of a results file.

    Args:
        rows: As ``benchmark_results`` writes them.
        ours: Heading of the value.
        peer: Heading of what it is compared with.
    """
    lines = [f"| measure | {ours} | unit | {peer} | {peer}'s | ratio |", "|---|---:|---|---|---:|---:|"]
    for row in rows:
        beside = ("", "", "")
        if row["peer"]:
            beside = (row["peer"], number(row["peer_value"]), f"{row['ratio']:.2f}" if row["ratio"] is not None else "")
        lines.append(f"| {row['metric']} | {number(row['value'])} | {row['unit']} | {' | '.join(beside)} |")
    return "\n".join(lines)


def device(results: dict[str, Any]) -> str:
    """What was measured on."""
    return f"{results['device']['processor']}, {results['device']['cores']} cores"
