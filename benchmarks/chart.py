"""The chart of a run: CPU time per query, a group of bars for each workload, as SVG without a library.

{workload: [(server, microseconds, least, most), ...]} --draw--> text of an SVG file
"""

from xml.sax.saxutils import escape

Bars = list[tuple[str, float, float, float]]

WIDTH = 760  # pixels, what GitHub shows without scaling
LABEL = 170  # for the servers' names
ROW, GAP, HEAD = 18, 34, 56
COLOURS = {"geodns": "#1a7f5a", "reflector": "#9aa4ad"}
OTHER = "#5b8db8"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}.s{fill:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#8b949e}}"
)


def draw(groups: dict[str, Bars], title: str, note: str) -> str:
    """Bars, each with a line from the least to the most of its rounds; cut at four times geodns' longest."""
    ours = [value for bars in groups.values() for name, value, _, _ in bars if name.startswith("geodns")]
    others = [value for bars in groups.values() for _, value, _, _ in bars]
    scale_max = min(max(others), 4 * max(ours, default=max(others)))
    pixels = (WIDTH - LABEL - 90) / scale_max
    body: list[str] = []
    at = HEAD
    for workload, bars in groups.items():
        body.append(f'<text x="0" y="{at + 13}" font-weight="600">{escape(workload)}</text>')
        at += ROW + 4
        for name, value, least, most in bars:
            colour = next((tint for word, tint in COLOURS.items() if name.startswith(word)), OTHER)
            length = min(value, scale_max) * pixels
            end = min(most, scale_max) * pixels
            middle = at + ROW / 2 - 1
            body.append(f'<text x="{LABEL - 8}" y="{at + 12}" text-anchor="end">{escape(name)}</text>')
            body.append(
                f'<rect x="{LABEL}" y="{at}" width="{length:.1f}" height="{ROW - 4}" rx="2" fill="{colour}"/>'
            )
            if value <= scale_max:
                begin = LABEL + least * pixels
                body.append(f'<path d="M{begin:.1f} {middle}H{LABEL + end:.1f}" stroke="#0008"/>')
            mark = "" if value <= scale_max else " →"
            x = LABEL + max(length, end if value <= scale_max else 0) + 6
            body.append(f'<text x="{x:.1f}" y="{at + 12}">{value:.1f}{mark}</text>')
            at += ROW
        at += GAP - ROW
    head = f'<text class="t" x="0" y="18">{escape(title)}</text>'
    head += f'<text class="s" x="0" y="38">{escape(note)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {at}" width="{WIDTH}" height="{at}" '
        f'role="img"><style>{STYLE}</style>{head}{"".join(body)}</svg>\n'
    )
