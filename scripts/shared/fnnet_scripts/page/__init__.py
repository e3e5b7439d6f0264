"""The page that `scripts/draw.py` serves: a network to draw for and to train, step by step.

`strokes` turns what is drawn into a network's image, `thinking` computes what the page shows of a
network, `equations` puts numbers into the equations, `learning` trains; `pages` holds what each
open page has, `api` answers its requests and `server` speaks HTTP. The browser's part is in
`static`.
"""
