"""Trains two models on the diabetes data that ship with scikit-learn; writes models/*/model.pkl.

python train.py    in an environment made from conda.yml
"""

from __future__ import annotations

import pathlib

import joblib
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

MODELS = {
    "linear": LinearRegression(),
    "forest": RandomForestRegressor(n_estimators=20, min_samples_leaf=5, random_state=0),
}


def main() -> None:
    features, disease_progression = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        features, disease_progression, random_state=0
    )
    here = pathlib.Path(__file__).parent
    for name, model in MODELS.items():
        model.fit(train_x, train_y)
        path = here / "models" / name / "model.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, path)
        print(f"{path.relative_to(here)}  R2 {model.score(test_x, test_y):.2f}")


if __name__ == "__main__":
    main()
