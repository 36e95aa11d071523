"""Is another policy better than ``price-index`` somewhere that nothing was tuned on?

    python -m experiments.held_out.run [--log GENTD26] [--arrivals AZURE]
    python -m experiments.held_out

The first writes ``result/losses.csv``; the second reads it and writes ``result.md``. Every figure
and every verdict of the page follows from the runs.
"""
