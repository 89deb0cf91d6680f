"""Linear models, kernels, neighbours, densities: the settings that change the graph, each beside scikit-learn."""

import numpy as np
import pytest
from export_forms import agree, cancer, diabetes, fitted, named, wine
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift
from sklearn.covariance import EllipticEnvelope
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Exponentiation,
    ExpSineSquared,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    RidgeClassifier,
    SGDClassifier,
    SGDOneClassSVM,
    TweedieRegressor,
)
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    LocalOutlierFactor,
    NearestCentroid,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM

BINARY_AND_MULTICLASS = named(
    LogisticRegression(max_iter=300),
    LogisticRegression(max_iter=300, fit_intercept=False, class_weight="balanced"),
    OneVsRestClassifier(LogisticRegression(solver="liblinear")),
    OneVsRestClassifier(LinearSVC()),
    OneVsRestClassifier(GaussianNB()),
    OneVsOneClassifier(LinearSVC()),
    OneVsOneClassifier(GaussianNB()),
    OutputCodeClassifier(LogisticRegression(), code_size=3, random_state=0),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2),
    QuadraticDiscriminantAnalysis(reg_param=0.05),
    QuadraticDiscriminantAnalysis(reg_param=0.3, store_covariance=True),
    RidgeClassifier(),
    Perceptron(random_state=0),
    SGDClassifier(loss="hinge", random_state=0),
    SGDClassifier(loss="log_loss", random_state=0),
    SGDClassifier(loss="modified_huber", random_state=0),
    MLPClassifier((4,), max_iter=20, activation="tanh", random_state=0),
    MLPClassifier((4, 3), max_iter=20, activation="logistic", random_state=0),
    MLPClassifier((), max_iter=20, random_state=0),
    GaussianNB(),
    BernoulliNB(binarize=0.3),
    NearestCentroid(),
    NearestCentroid(priors="empirical", shrink_threshold=0.1),
    KNeighborsClassifier(5),
    KNeighborsClassifier(4, weights="distance"),
    KNeighborsClassifier(3, algorithm="brute"),
    RadiusNeighborsClassifier(50.0),
    RadiusNeighborsClassifier(0.8, outlier_label=1),
    SVC(kernel="linear"),
    SVC(kernel="poly", degree=2, coef0=1.0),
    SVC(kernel="rbf", gamma=0.3),
    SVC(kernel="sigmoid", gamma=0.05),
    SVC(decision_function_shape="ovo"),
    SVC(break_ties=True),
    SVC(probability=True, random_state=0),
    SVC(kernel="poly", degree=2, coef0=0.5, probability=True, decision_function_shape="ovo", random_state=0),
    SVC(kernel="linear", probability=True, break_ties=True, random_state=0),
    NuSVC(nu=0.2),
    LabelPropagation(gamma=0.5),
    LabelSpreading(kernel="knn", n_neighbors=5),
    GaussianProcessClassifier(RBF(1.5), optimizer=None),
    GaussianProcessClassifier(Matern(2.0, nu=1.5), optimizer=None),
    CalibratedClassifierCV(LinearSVC(), cv=2, method="sigmoid"),
    CalibratedClassifierCV(LinearSVC(), cv=2, method="isotonic"),
    CalibratedClassifierCV(GaussianNB(), cv=2, method="sigmoid", ensemble=False),
    DummyClassifier(strategy="most_frequent"),
    DummyClassifier(strategy="prior"),
)


@pytest.mark.parametrize("data", [cancer, wine], ids=["two", "three"])
@pytest.mark.parametrize("estimator", BINARY_AND_MULTICLASS)
def test_classifiers_with_two_and_three_classes(estimator, data):
    X, y = data()
    agree(fitted(estimator, X, y), X, flips=3)


@pytest.mark.parametrize("estimator", named(MultinomialNB(), MultinomialNB(fit_prior=False), ComplementNB(norm=True)))
def test_counts(estimator):
    X, y = wine()
    counts = np.round(np.abs(X) * 3)
    agree(fitted(estimator, counts, y), counts)


REGRESSORS = named(
    LinearRegression(fit_intercept=False),
    PoissonRegressor(),
    TweedieRegressor(power=0),
    TweedieRegressor(power=1.5, link="log"),
    KernelRidge(kernel="rbf", gamma=0.2),
    KernelRidge(kernel="polynomial", degree=2),
    KernelRidge(kernel="cosine"),
    SVR(kernel="poly", degree=3, gamma=0.2),
    SVR(kernel="sigmoid", gamma=0.05),
    MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, activation="relu", random_state=0),
    MLPRegressor("poisson", hidden_layer_sizes=(5,), max_iter=20, activation="identity", random_state=0),
    KNeighborsRegressor(5, weights="distance"),
    RadiusNeighborsRegressor(50.0),
    DummyRegressor(strategy="median"),
    DummyRegressor(strategy="quantile", quantile=0.9),
)


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_regressors(estimator):
    X, y = diabetes()
    model = agree(fitted(estimator, X, y), X)
    assert model.outputs["n_values"] == 1


KERNELS = named(
    RBF(1.3),
    RBF([1.0, 2.0, 0.7, 1.5, 3.0]),
    Matern(2.0, nu=0.5),
    Matern(2.0, nu=1.5),
    Matern([1.0, 2.0, 0.7, 1.5, 3.0], nu=2.5),
    Matern(1.5, nu=np.inf),
    RationalQuadratic(1.2, alpha=0.7),
    DotProduct(0.8) + WhiteKernel(0.1),
    ExpSineSquared(1.4, periodicity=40.0),
    ConstantKernel(2.0) * RBF(1.1) + ConstantKernel(0.3),
    Exponentiation(RBF(2.0), 2.0),
)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_of_gaussian_processes(kernel):
    X, y = diabetes()
    process = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None, normalize_y=True)
    agree(fitted(process, X, y), X)


DETECTORS = named(
    OneClassSVM(nu=0.2),
    OneClassSVM(nu=0.2, kernel="linear"),
    SGDOneClassSVM(random_state=0),
    EllipticEnvelope(random_state=0, contamination=0.2),
    LocalOutlierFactor(7, novelty=True, contamination=0.1),
)


@pytest.mark.parametrize("estimator", DETECTORS)
def test_outlier_detectors(estimator):
    X, _ = cancer()
    model = agree(fitted(estimator, X), X)
    assert model.outputs["labels"] == [-1, 1] and model.outputs["scores"] == "decision"


CLUSTERERS = named(
    KMeans(4, n_init=2, random_state=0),
    BisectingKMeans(5, random_state=0),
    Birch(n_clusters=3, threshold=1.0),
    Birch(n_clusters=None, threshold=1.0),
    MeanShift(bandwidth=3.0),
    AffinityPropagation(random_state=0),
    GaussianMixture(3, covariance_type="full", random_state=0),
    GaussianMixture(3, covariance_type="tied", random_state=0),
    GaussianMixture(3, covariance_type="diag", random_state=0),
    GaussianMixture(3, covariance_type="spherical", random_state=0),
    BayesianGaussianMixture(n_components=4, random_state=0),
)


@pytest.mark.parametrize("estimator", CLUSTERERS)
def test_clusterers(estimator):
    X, _ = wine()
    model = agree(fitted(estimator, X), X)
    assert model.outputs["scores"] is None
