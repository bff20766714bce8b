"""A scikit-learn model: the number that the task returns is the trial's value."""

import hydra
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    images, classes = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), SVC(C=cfg.C, gamma=cfg.gamma))
    return cross_val_score(model, images[:1000], classes[:1000], cv=3).mean()


if __name__ == "__main__":
    main()
