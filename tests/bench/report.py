"""report.py: a benchmark's rows as a table and as build/bench/NAME.json."""
import json, os, statistics

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Report:
    def __init__(self, bench):
        self.bench, self.rows, self.notes = bench, [], {}

    def add(self, case, system, metric, unit, values):
        self.rows.append({"case": case, "system": system, "metric": metric, "unit": unit,
                          "median": round(statistics.median(values), 4), "min": round(min(values), 4),
                          "max": round(max(values), 4), "runs": len(values)})

    def write(self, show=True):
        """show: print the rows as a table, too."""
        folder = os.path.join(ROOT, "build", "bench")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, self.bench + ".json")
        with open(path, "w") as f:
            json.dump({"bench": self.bench, **self.notes, "rows": self.rows}, f, indent=1, ensure_ascii=False)
        keys = ("case", "system", "metric", "unit", "median", "min", "max", "runs")
        table = [keys] + [tuple(str(r[k]) for k in keys) for r in self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(keys))]
        for row in table if show else ():
            print("  ".join(c.rjust(w) if i > 3 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))))
        print(os.path.relpath(path, ROOT))
