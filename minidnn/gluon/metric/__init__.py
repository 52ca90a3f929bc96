"""Metrics that add up over batches, by MXNet 2's names.

```python
accuracy = mx.gluon.metric.Accuracy()
for data, label in batches:
    accuracy.update(label, net(data))
name, value = accuracy.get()
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.missing import raising
from minidnn.process_safe import forget_modules

try:
    from minidnn.gluon.metric.base import EvalMetric, alias, check_label_shapes, register
    from minidnn.gluon.metric.classification import F1, MCC, PCC, Accuracy, BinaryAccuracy, Fbeta, TopKAccuracy
    from minidnn.gluon.metric.composed import CompositeEvalMetric, CustomMetric, create, np
    from minidnn.gluon.metric.values import (
        MAE,
        MSE,
        RMSE,
        CrossEntropy,
        Loss,
        MeanCosineSimilarity,
        MeanPairwiseDistance,
        NegativeLogLikelihood,
        PearsonCorrelation,
        Perplexity,
    )
except BaseException:
    forget_modules(__name__)
    raise

__all__ = [
    "F1",
    "MAE",
    "MCC",
    "MSE",
    "PCC",
    "RMSE",
    "Accuracy",
    "BinaryAccuracy",
    "CompositeEvalMetric",
    "CrossEntropy",
    "CustomMetric",
    "EvalMetric",
    "Fbeta",
    "Loss",
    "MeanCosineSimilarity",
    "MeanPairwiseDistance",
    "NegativeLogLikelihood",
    "PearsonCorrelation",
    "Perplexity",
    "TopKAccuracy",
    "alias",
    "check_label_shapes",
    "create",
    "np",
    "register",
]

if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
