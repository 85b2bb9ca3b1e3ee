"""timeline.py: a run as one SVG picture: each host a band with its memory over time and the guests on
it, every decision a mark, the connection's silences below."""
from html import escape

COLOURS = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948"]
LEFT, WIDE, BAND, TOP = 90, 900, 110, 50


def timeline_svg(hosts, samples, events, connection):
    end = max([s["t"] for s in samples] + [1.0])
    names = sorted({g["name"] for s in samples for g in s["guests"]})
    colour = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(names)}
    x = lambda t: LEFT + WIDE * max(0.0, min(t, end)) / end
    height = TOP + BAND * len(hosts) + 110
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 40}" height="{height}" '
           f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="15" font-weight="bold">Memory of each host, by guest, over time</text>']
    for i, n in enumerate(names):
        out.append(f'<rect x="{LEFT + i * 110}" y="28" width="10" height="10" fill="{colour[n]}"/>'
                   f'<text x="{LEFT + 14 + i * 110}" y="37">{escape(n)}</text>')
    for row, host in enumerate(hosts):
        base, tall = TOP + BAND * (row + 1) - 12, BAND - 30
        mine = [s for s in samples if s["host"] == host]
        total = max([s["load"].get("memory_total_mib") or 0 for s in mine] + [1])
        out.append(f'<text x="8" y="{base - tall / 2}" font-weight="bold">{escape(host)}</text>'
                   f'<rect x="{LEFT}" y="{base - tall}" width="{WIDE}" height="{tall}" fill="#f4f4f4"/>')
        for k, s in enumerate(mine):
            x0, x1 = x(s["t"]), x(mine[k + 1]["t"] if k + 1 < len(mine) else min(end, s["t"] + 1))
            y = base
            for g in sorted(s["guests"], key=lambda g: g["name"]):
                h = tall * (g.get("memory_mib") or 0) / total
                y -= h
                used = tall * min(g.get("used_mib") or 0, g.get("memory_mib") or 0) / total
                out.append(f'<rect x="{x0:.1f}" y="{y:.1f}" width="{max(0.5, x1 - x0):.1f}" height="{h:.1f}" '
                           f'fill="{colour[g["name"]]}" fill-opacity="0.35"/>'
                           f'<rect x="{x0:.1f}" y="{y + h - used:.1f}" width="{max(0.5, x1 - x0):.1f}" '
                           f'height="{used:.1f}" fill="{colour[g["name"]]}"/>')
        for e in events:
            if e["host"] == host:
                out.append(f'<line x1="{x(e["t"]):.1f}" x2="{x(e["t"]):.1f}" y1="{base - tall - 8}" y2="{base}" '
                           f'stroke="black" stroke-width="0.7"><title>{escape(e["text"])}</title></line>'
                           f'<text x="{x(e["t"]) + 2:.1f}" y="{base - tall - 2}" font-size="9">{escape(e["kind"])}</text>')
    base = TOP + BAND * len(hosts) + 20
    out.append(f'<text x="8" y="{base + 12}" font-weight="bold">connection</text>'
               f'<rect x="{LEFT}" y="{base}" width="{WIDE}" height="16" fill="{"#e15759" if connection["broken"] else "#59a14f"}"/>'
               f'<text x="{LEFT}" y="{base + 32}">one message every 100 ms; {connection["answered"]} answered, longest '
               f'silence {connection["longest_gap_ms"]:.0f} ms{", BROKEN" if connection["broken"] else ", unbroken"}</text>')
    for step in range(0, int(end) + 1, 10):
        out.append(f'<text x="{x(step):.1f}" y="{base + 52}" text-anchor="middle">{step} s</text>'
                   f'<line x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{TOP}" y2="{base + 40}" stroke="#ccc" stroke-width="0.5"/>')
    return "\n".join(out) + "\n</svg>\n"
