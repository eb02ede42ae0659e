"""Learns handwritten digits with a small neural network, as a job on gradientd.

Reads digits.csv beside this file (1,797 images of 8 by 8 grey values, then the digit), keeps a fifth
aside to test on, and prints one point of the charts `loss` and `accuracy` after each epoch: any line
that is JSON with `chart`, `x` and `y` becomes a point of that chart. What it writes to /artifacts
is kept after the run.
"""

import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

EPOCHS = int(os.environ.get("EPOCHS", "120"))
ARTIFACTS = Path("/artifacts")


def main():
    table = np.loadtxt(Path(__file__).with_name("digits.csv"), delimiter=",")
    images, digits = table[:, :-1] / 16, table[:, -1].astype(int)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits, test_size=0.2, random_state=0, stratify=digits
    )
    print(f"{len(train_x)} images to learn from, {len(test_x)} to test on", flush=True)

    model = MLPClassifier(hidden_layer_sizes=(64, 32), learning_rate_init=0.001, random_state=0)
    started = time.monotonic()
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(train_x, train_y, classes=range(10))
        accuracy = model.score(test_x, test_y)
        print(json.dumps({"chart": "loss", "x": epoch, "y": round(model.loss_, 6)}), flush=True)
        print(json.dumps({"chart": "accuracy", "x": epoch, "y": round(accuracy, 6)}), flush=True)
        if epoch == 1 or epoch % 10 == 0:
            print(f"epoch {epoch:3} of {EPOCHS}  loss {model.loss_:.4f}  accuracy {accuracy:.3f}")

    seconds = time.monotonic() - started
    with open(ARTIFACTS / "model.pkl", "wb") as file:
        pickle.dump(model, file)
    metrics = {"epochs": EPOCHS, "loss": model.loss_, "accuracy": accuracy, "seconds": seconds}
    (ARTIFACTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"done in {seconds:.1f} s: {accuracy:.1%} of the test images read correctly", flush=True)


if __name__ == "__main__":
    main()
