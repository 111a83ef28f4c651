"""Something to look at, for scripts/screenshots.mts: an experiment with runs, figures and a registered model. Prints its id, and id and name of the best run."""

import matplotlib

matplotlib.use("agg")  # needs no screen
import mlflow
from matplotlib import pyplot
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

MODEL = "diabetes-progression"
train_x, test_x, train_y, test_y = train_test_split(*load_diabetes(return_X_y=True, as_frame=True), random_state=7)
experiment = mlflow.set_experiment("diabetes")
best = None, None, -1
for penalty in ("l2", "l1", "elasticnet"):
    for eta0 in (0.02, 0.1):
        model = SGDRegressor(penalty=penalty, eta0=eta0, alpha=0.001, random_state=7)
        with mlflow.start_run(run_name=f"sgd-{penalty}-{eta0}") as run:
            mlflow.log_params({"penalty": penalty, "eta0": eta0})
            for epoch in range(40):
                model.partial_fit(train_x, train_y)
                mlflow.log_metric("rmse", root_mean_squared_error(test_y, model.predict(test_x)), step=epoch)
            r2 = r2_score(test_y, model.predict(test_x))
            mlflow.log_metric("r2", r2)
            figure, axes = pyplot.subplots()
            axes.scatter(test_y, model.predict(test_x))
            axes.set(title="Progression of diabetes after a year", xlabel="measured", ylabel="predicted")
            mlflow.log_figure(figure, "predictions.png")
            if r2 > best[2]:
                best = run.info.run_id, run.info.run_name, r2
                version = mlflow.register_model(mlflow.sklearn.log_model(model, name="model", input_example=test_x.head(2)).model_uri, MODEL)

mlflow.MlflowClient().set_registered_model_alias(MODEL, "champion", version.version)
print(experiment.experiment_id, *best)
