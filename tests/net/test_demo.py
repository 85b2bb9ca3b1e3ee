#!/usr/bin/env python3
"""What `make demo` shows comes about: balloons, weights, one move, and the connection holds."""
import json, os

import demo
from harness import main, test


@test
def shown():
    """the demo runs to its end and reports no failure"""
    assert demo.main() == 0
    with open(os.path.join(demo.OUT, "report.json"), encoding="utf-8") as f:
        assert json.load(f)


if __name__ == "__main__":
    main()
