"""What the network was asked at each step of a run, kept so that any of these passes can be made again, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from zoo.sampling.guidance import Predict


@dataclass
class Trace:
    """The passes of a run, one a step: the noised samples x_t (b, ...) and the times as the network was told them."""

    inputs: list[Tensor] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    context: Tensor | None = None
    """What a prompt and its negative said to the model, where it reads text."""

    def watch(self, predict: Predict) -> Predict:
        """The same network, what it is asked noted."""

        def recording_predict(x: Tensor, t: Tensor) -> Tensor:
            self.inputs.append(x.cpu())
            self.times.append(float(t[0]))
            return predict(x, t)

        return recording_predict
