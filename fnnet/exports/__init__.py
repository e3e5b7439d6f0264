"""Networks for other programs: ONNX, arrays for NumPy, C; and the way in from other libraries.

`export` writes a file, in the format that its suffix names. `as_onnx`, `as_npz` and `as_c` give its
contents. `from_sklearn`, `from_torch` and `from_keras` make parameters of what these libraries
trained.

``.npz``: weights ``w1, w2, ...``, biases ``b1, b2, ...``, with int8 weights their scales ``s1, s2,
...``, and ``about``, a text of JSON. These nine lines read it, in whatever numbers it holds:

```python
import numpy as np

with np.load("network.npz") as file:
    a = {name: np.float32(file[name]) for name in file.files if name != "about"}
w = [a[f"w{i}"] * a.get(f"s{i}", 1) for i in range(1, 1 + sum(name[0] == "w" for name in a))]
b = [a[f"b{i}"] for i in range(1, 1 + len(w))]
def logits(x):  # one sample or rows of them, floats, divided by what "about" says
    for i in range(len(w) - 1):
        x = np.maximum(x.dot(w[i]) + b[i], 0)
    return x.dot(w[-1]) + b[-1]
```

One image through 784-128-10 takes them about 10 µs on one core, after 2 ms to read the file, in any
of the three kinds of numbers. Seven of these go into the first product, whose 401 kB of weights
come from the level-2 cache. ``@`` and ``clip`` instead of ``dot`` and ``np.maximum`` would add 2.5.
`scripts/export.py` times the lines.

``np.maximum(z, 0)`` is ReLU. For a network of another activation write in its place:

- tanh: ``np.tanh(z)``
- sigmoid: ``1 / (1 + np.exp(-z))``
- leaky_relu: ``np.where(z > 0, z, 0.01 * z)``
- silu: ``z / (1 + np.exp(-z))``
- gelu: ``z * np.vectorize(math.erfc)(-z * 0.5**0.5) / 2``
- identity: ``z``

The way in, each to the same logits within 1e-5:

```python
from fnnet import exports

params = exports.from_sklearn(MLPClassifier().fit(x, y))
params = exports.from_torch(model.state_dict(), "gelu")  # linear layers alone
params = exports.from_keras(model.get_weights(), "tanh", "sigmoid")  # dense layers alone
```

PyTorch's and Keras's weights do not say what stands between the layers, nor what the logits mean:
name the activation and the output, which are "relu" and "softmax" otherwise. scikit-learn's do. In
all three a sample is scaled as it was where the network was trained, and `About` keeps its divisor
in an export.
"""

from fnnet.exports.c99 import as_c
from fnnet.exports.files import export
from fnnet.exports.npz import as_npz
from fnnet.exports.onnx_graph import as_onnx
from fnnet.exports.subject import About
from fnnet.exports.ways_in import from_keras, from_sklearn, from_torch

__all__ = [
    "About",
    "as_c",
    "as_npz",
    "as_onnx",
    "export",
    "from_keras",
    "from_sklearn",
    "from_torch",
]
