"""A picture of a drill: requests, failures and waiting over time, with what happened as lines."""
import collections


def plot(path, samples, events):
    width, left, panel, gap = 900, 60, 110, 40
    end = max((one[0] for one in samples), default=1) + 1
    by_second = collections.defaultdict(list)
    for one in samples:
        by_second[int(one[0])].append(one)
    seconds = range(int(end) + 1)
    x = lambda second: left + second / end * (width - left - 20)
    panels = [
        ("answered per second", "#2563eb", [sum(one[3] for one in by_second[s]) for s in seconds]),
        ("failed per second", "#dc2626", [sum(not one[3] for one in by_second[s]) for s in seconds]),
        ("slowest first byte, ms", "#059669", [max((one[5] * 1000 for one in by_second[s] if one[3]), default=0) for s in seconds]),
    ]
    height = len(panels) * (panel + gap) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">']
    for index, (title, color, values) in enumerate(panels):
        top = 24 + index * (panel + gap)
        high = max(max(values, default=0), 1)
        points = " ".join(f"{x(s):.1f},{top + panel - value / high * panel:.1f}" for s, value in zip(seconds, values))
        parts.append(f'<text x="{left}" y="{top - 6}">{title} (up to {high:.0f})</text>'
                     f'<line x1="{left}" y1="{top + panel}" x2="{width - 20}" y2="{top + panel}" stroke="#cbd5e1"/>'
                     f'<polyline points="{points}" fill="none" stroke="{color}"/>')
    for number, (at, _) in enumerate(events, 1):
        parts.append(f'<line x1="{x(at):.1f}" y1="18" x2="{x(at):.1f}" y2="{height - 20}" stroke="#94a3b8" stroke-dasharray="3 3"/>'
                     f'<text x="{x(at):.1f}" y="{height - 6}" text-anchor="middle">{at:.0f}</text>')
    path.write_text("\n".join([*parts, "</svg>", ""]))
