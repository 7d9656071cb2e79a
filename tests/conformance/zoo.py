"""The models that `fitted.py` compares. Owns which they are and what a row for each looks like."""

import contextlib
import functools

import nets as more_nets
import numpy
import onnx
from lightgbm import LGBMClassifier, LGBMRegressor
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common import data_types as tools_types
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DictionaryType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

COLUMNS = 6
OPSET = {"": 17, "ai.onnx.ml": 3}
# Where tract drops a NaN in Relu, and where the order among NaN decides: compared without those and without
# infinities, which become NaN on the way.
FINITE = ("mlp_", "k_neighbors_", "net_")
EDGE = [0.0, numpy.nan, numpy.inf, -numpy.inf, 1e30, -1e30, 1e-30, -0.0]


def models():
    """Each model's name, its ONNX form and what makes inputs for it."""
    yield from numeric_models()
    yield from mixed_models()
    yield from text_models()
    yield from boosted_models()
    yield from keyed_models()
    yield from nets()
    yield from more_nets.models()
    yield from real_models()


@functools.cache
def training():
    random = numpy.random.default_rng(7)
    rows = random.normal(size=(300, COLUMNS)).astype(numpy.float32)
    score = rows @ random.normal(size=COLUMNS) + 0.3 * random.normal(size=300)
    classes = numpy.digitize(score, [-1.0, 1.0])
    return rows, score.astype(numpy.float32), classes


def numeric_inputs(rows, seed, edge=EDGE):
    """Random rows, or for 0 rows those at the edge: each odd number alone, then in all columns."""
    if rows:
        random = numpy.random.default_rng(seed)
        return {"x": (1.5 * random.normal(size=(rows, COLUMNS))).astype(numpy.float32)}
    alone = numpy.tile(training()[0][:1], (len(edge), 1))
    alone[:, 1] = edge
    everywhere = numpy.repeat(numpy.array(edge, numpy.float32)[:, None], COLUMNS, 1)
    return {"x": numpy.concatenate([alone, everywhere]).astype(numpy.float32)}


def inputs_for(name):
    """What makes inputs for a model of numbers."""
    if name.startswith(FINITE):
        return functools.partial(numeric_inputs, edge=[value for value in EDGE if numpy.isfinite(value)])
    return numeric_inputs


def numeric_models():
    rows, score, classes = training()
    binary = (score > 0).astype(int)
    names = numpy.array(["low", "mid", "high"])[classes]
    classifiers = {
        "logistic_regression": LogisticRegression(),
        "logistic_regression_cv_scaled": make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        "sgd_classifier": SGDClassifier(loss="log_loss", random_state=0),
        "perceptron": Perceptron(),
        "ridge_classifier": RidgeClassifier(),
        "lda": LinearDiscriminantAnalysis(),
        "qda": QuadraticDiscriminantAnalysis(),
        "gaussian_nb": GaussianNB(),
        "bernoulli_nb": BernoulliNB(),
        "mlp_classifier": MLPClassifier(hidden_layer_sizes=(16, 8), max_iter=200, random_state=0),
        "k_neighbors_classifier": KNeighborsClassifier(5),
        "svc_rbf": make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)),
        "svc_poly": SVC(kernel="poly", degree=2, probability=True, random_state=0),
        "svc_sigmoid": SVC(kernel="sigmoid", gamma=0.05),
        "nu_svc_linear": NuSVC(kernel="linear", probability=True, random_state=0),
        "linear_svc": LinearSVC(),
        "decision_tree_classifier": DecisionTreeClassifier(random_state=0),
        "random_forest_classifier": RandomForestClassifier(30, random_state=0),
        "extra_trees_classifier": ExtraTreesClassifier(20, random_state=0),
        "gradient_boosting_classifier": GradientBoostingClassifier(n_estimators=20, random_state=0),
        "ada_boost_classifier": AdaBoostClassifier(n_estimators=10, random_state=0),
        "bagging_classifier": BaggingClassifier(n_estimators=5, random_state=0),
        "voting_classifier": VotingClassifier(
            [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=4))],
            voting="soft",
            flatten_transform=False,
        ),
        "stacking_classifier": StackingClassifier(
            [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=3, random_state=0))]
        ),
        "one_vs_rest": OneVsRestClassifier(LogisticRegression()),
        "calibrated": CalibratedClassifierCV(LogisticRegression()),
        "poly_features": make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=2000)),
        "k_bins": make_pipeline(KBinsDiscretizer(4, encode="ordinal"), LogisticRegression()),
        "power_transformer": make_pipeline(PowerTransformer(), LogisticRegression()),
        "select_k_best": make_pipeline(SelectKBest(k=3), VarianceThreshold(), LogisticRegression()),
        "pca_forest": make_pipeline(PCA(3), RandomForestClassifier(10, max_depth=5, random_state=0)),
        "imputed_scaled": make_pipeline(
            SimpleImputer(strategy="median"), RobustScaler(), MaxAbsScaler(), LogisticRegression()
        ),
        "minmax_normalized_binarized": make_pipeline(
            MinMaxScaler(), Normalizer("l1"), Binarizer(threshold=0.15), LogisticRegression()
        ),
    }
    for name, estimator in classifiers.items():
        yield from numeric(name, estimator.fit(rows, classes))
    for name in ("logistic_regression", "random_forest_classifier", "svc_rbf", "gradient_boosting_classifier"):
        yield from numeric(f"{name}_texts", classifiers[name].fit(rows, names))
        yield from numeric(f"{name}_binary", classifiers[name].fit(rows, binary))
        yield from numeric(f"{name}_columns", classifiers[name], zipmap="columns")
        yield from numeric(f"{name}_no_zipmap", classifiers[name], zipmap=False)
    # The number of the leaf, and the nodes on the way to it as a text.
    for name in ("decision_tree_classifier", "extra_trees_classifier"):
        yield from numeric(f"{name}_leaf", classifiers[name].fit(rows, classes), decision_leaf=True, zipmap=False)
        yield from numeric(f"{name}_path", classifiers[name], decision_path=True, zipmap=False)
    regressors = {
        "linear_regression": LinearRegression(),
        "ridge": Ridge(),
        "lasso": Lasso(alpha=0.01),
        "elastic_net": ElasticNet(alpha=0.01),
        "huber": HuberRegressor(),
        "poisson": PoissonRegressor(),
        "linear_svr": make_pipeline(StandardScaler(), LinearSVR()),
        "svr_rbf": make_pipeline(StandardScaler(), SVR()),
        "svr_poly": SVR(kernel="poly", degree=2),
        "k_neighbors_regressor": KNeighborsRegressor(3),
        "mlp_regressor": MLPRegressor(hidden_layer_sizes=(16,), max_iter=200, random_state=0),
        "decision_tree_regressor": DecisionTreeRegressor(random_state=0),
        "random_forest_regressor": RandomForestRegressor(30, random_state=0),
        "gradient_boosting_regressor": GradientBoostingRegressor(n_estimators=20, random_state=0),
        "voting_regressor": VotingRegressor([("a", LinearRegression()), ("b", DecisionTreeRegressor(max_depth=3))]),
    }
    positive = {"poisson": numpy.abs(score)}
    for name, estimator in regressors.items():
        yield from numeric(name, estimator.fit(rows, positive.get(name, score)))
    # Fitted with gaps, which these take without imputation.
    gaps = rows.copy()
    gaps[::7, 2] = numpy.nan
    hist = {"max_iter": 20, "random_state": 0}
    with booleans_for_integers():
        yield from numeric("hist_boosting_classifier", HistGradientBoostingClassifier(**hist).fit(gaps, classes))
        yield from numeric("hist_boosting_binary", HistGradientBoostingClassifier(**hist).fit(gaps, binary))
        yield from numeric("hist_boosting_regressor", HistGradientBoostingRegressor(**hist).fit(gaps, score))
    several = numpy.stack([score, -2 * score], 1)
    yield from numeric("linear_regression_two_targets", LinearRegression().fit(rows, several))
    yield from numeric("random_forest_two_targets", RandomForestRegressor(5, random_state=0).fit(rows, several))
    others = {
        "k_means": KMeans(3, n_init=2, random_state=0),
        "pca": PCA(3),
        "truncated_svd": TruncatedSVD(3, random_state=0),
        "isolation_forest": IsolationForest(n_estimators=10, random_state=0),
        "one_class_svm": OneClassSVM(),
        "scalers": make_pipeline(StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()),
    }
    for name, estimator in others.items():
        yield from numeric(name, estimator.fit(rows))


@contextlib.contextmanager
def booleans_for_integers():
    """Lets skl2onnx give booleans for integers, as it does for these models and onnx no longer takes."""
    strict = onnx.helper.make_attribute

    def tolerant(key, value, *rest, **options):
        if isinstance(value, (list, tuple)):
            value = [int(item) if isinstance(item, (bool, numpy.bool_)) else item for item in value]
        return strict(key, value, *rest, **options)

    onnx.helper.make_attribute = tolerant
    try:
        yield
    finally:
        onnx.helper.make_attribute = strict


def numeric(name, estimator, **options):
    final = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    model = convert_sklearn(
        estimator,
        initial_types=[("x", FloatTensorType([None, COLUMNS]))],
        options={id(final): options} if options else None,
        target_opset=OPSET,
    )
    yield name, model, inputs_for(name)


CITIES = ["Aachen", "Bonn", "Köln"]
SIZES = ["s", "m", "l", "xl"]


@functools.cache
def table():
    """Columns of numbers, texts and integers, with gaps, and a class for each row."""
    random = numpy.random.default_rng(11)
    rows = 300
    age = random.normal(40, 10, (rows, 1)).astype(numpy.float32)
    income = random.lognormal(1, 0.5, (rows, 1)).astype(numpy.float32)
    age[::17] = numpy.nan
    city = random.choice(CITIES, (rows, 1)).astype(object)
    size = random.choice(SIZES, (rows, 1)).astype(object)
    children = random.integers(0, 5, (rows, 1)).astype(numpy.int64)
    classes = (numpy.nan_to_num(age[:, 0], nan=40) > 40).astype(int) + (city[:, 0] == "Bonn")
    return {"age": age, "income": income, "city": city, "size": size, "children": children}, classes


def mixed_inputs(rows, seed, names):
    columns, _ = table()
    if rows:
        picked = numpy.random.default_rng(seed).integers(0, 300, rows)
        return {name: columns[name][picked] for name in names}
    edge = {
        "age": numpy.array([[numpy.nan], [numpy.inf], [-1e30], [30], [30], [30]], numpy.float32),
        "income": numpy.array([[1], [1], [1], [numpy.nan], [0], [2]], numpy.float32),
        "city": numpy.array([["Bonn"], ["Bonn"], ["Köln"], ["nowhere"], [""], ["bonn"]], object),
        "size": numpy.array([["s"], ["m"], ["xl"], ["s"], ["unseen"], [" s"]], object),
        "children": numpy.array([[0], [1], [-1], [99], [2**40], [3]], numpy.int64),
    }
    return {name: edge[name] for name in names}


TYPES = {"age": FloatTensorType, "income": FloatTensorType, "children": Int64TensorType}


def mixed_models():
    """Pipelines whose columns have different types, each an input of its own."""
    import pandas

    columns, classes = table()
    frame = pandas.DataFrame({name: values[:, 0] for name, values in columns.items()})
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    onehot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    pipelines = {
        "columns_onehot_logistic": (
            [("n", numbers, ["age", "income"]), ("c", onehot, ["city", "size"]), ("k", "passthrough", ["children"])],
            LogisticRegression(max_iter=500),
        ),
        "columns_onehot_forest": (
            [("n", numbers, ["age", "income"]), ("c", onehot, ["city", "size"])],
            RandomForestClassifier(10, random_state=0),
        ),
        "columns_ordinal_boosting": (
            [("n", SimpleImputer(strategy="median"), ["age", "income"]), ("c", ordinal, ["city", "size"])],
            GradientBoostingClassifier(n_estimators=10, random_state=0),
        ),
        "columns_drop_first": (
            [("n", numbers, ["age"]), ("c", OneHotEncoder(drop="first", sparse_output=False), ["city"])],
            LogisticRegression(),
        ),
        "columns_integers_onehot": (
            [("n", numbers, ["age"]), ("k", onehot, ["children"])],
            LogisticRegression(),
        ),
    }
    for name, (transformers, estimator) in pipelines.items():
        used = [column for _, _, wanted in transformers for column in wanted]
        pipeline = make_pipeline(ColumnTransformer(transformers), estimator).fit(frame[used], classes)
        types = [(column, TYPES.get(column, StringTensorType)([None, 1])) for column in used]
        model = convert_sklearn(pipeline, initial_types=types, target_opset=OPSET)
        yield name, model, functools.partial(mixed_inputs, names=used)


def text_models():
    """Models that take nothing but texts."""
    columns, classes = table()
    both = numpy.concatenate([columns["city"], columns["size"]], 1)
    pairs = [("x", StringTensorType([None, 2]))]

    def inputs(rows, seed):
        mixed = mixed_inputs(rows, seed, ["city", "size"])
        return {"x": numpy.concatenate([mixed["city"], mixed["size"]], 1)}

    def words(rows, seed):
        return {"x": mixed_inputs(rows, seed, ["city"])["city"][:, 0]}

    estimators = {
        "onehot": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        "impute_most_frequent": make_pipeline(
            SimpleImputer(strategy="most_frequent", missing_values=""),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        ),
        "onehot_tree": make_pipeline(
            OneHotEncoder(handle_unknown="ignore", sparse_output=False), DecisionTreeClassifier(random_state=0)
        ),
    }
    for name, estimator in estimators.items():
        fitted = estimator.fit(both, classes) if name == "onehot_tree" else estimator.fit(both)
        yield f"texts_{name}", convert_sklearn(fitted, initial_types=pairs, target_opset=OPSET), inputs
    labels = LabelEncoder().fit(columns["city"][:, 0])
    model = convert_sklearn(labels, initial_types=[("x", StringTensorType([None]))], target_opset=OPSET)
    yield "texts_label_encoder", model, words


class Keyed(list):
    """Rows that onnxruntime takes as maps; `vocabulary` are the columns of what the gateway takes."""

    vocabulary = ()

    def __getitem__(self, rows):
        return keyed(super().__getitem__(rows), self.vocabulary)


def keyed(rows, vocabulary):
    made = Keyed(rows)
    made.vocabulary = vocabulary
    return made


def keyed_models():
    """A DictVectorizer in front, which takes one map at a time."""
    random = numpy.random.default_rng(5)
    keys = ["b", "a", "ü"]
    samples = [{key: float(random.normal()) for key in keys if random.random() < 0.8} for _ in range(200)]
    classes = [int(sum(sample.values()) > 0) for sample in samples]
    vectors = DictVectorizer(sparse=False)
    pipeline = make_pipeline(vectors, LogisticRegression()).fit(samples, classes)
    types = [("x", DictionaryType(StringTensorType([1]), FloatTensorType([])))]
    model = convert_sklearn(pipeline, initial_types=types, target_opset=OPSET)

    def inputs(rows, seed):
        edge = [{}, {"a": 1.0}, {"ü": -2.0, "unseen": 9.0}, {"a": 0.5, "b": -1e30, "ü": 3.0}]
        return {"x": keyed(samples[rows : rows + 1] if rows else edge, list(vectors.feature_names_))}

    yield "dict_vectorizer_logistic", model, inputs


def boosted_models():
    """What XGBoost and LightGBM fit, through onnxmltools."""
    rows, score, classes = training()
    types = [("x", tools_types.FloatTensorType([None, COLUMNS]))]
    binary = (score > 0).astype(int)
    gaps = rows.copy()
    gaps[::7, 2] = numpy.nan
    xgb = {"n_estimators": 20, "max_depth": 5}
    for name, estimator, target in [
        ("xgboost_classifier", XGBClassifier(**xgb), classes),
        ("xgboost_binary", XGBClassifier(**xgb), binary),
        ("xgboost_regressor", XGBRegressor(**xgb), score),
        ("xgboost_poisson", XGBRegressor(objective="count:poisson", **xgb), numpy.abs(score)),
    ]:
        model = convert_xgboost(estimator.fit(gaps, target), initial_types=types, target_opset=15)
        yield name, model, numeric_inputs
    lgbm = {"n_estimators": 20, "verbose": -1}
    for name, estimator, target in [
        ("lightgbm_classifier", LGBMClassifier(**lgbm), classes),
        ("lightgbm_binary", LGBMClassifier(**lgbm), binary),
        ("lightgbm_regressor", LGBMRegressor(**lgbm), score),
    ]:
        model = convert_lightgbm(estimator.fit(gaps, target), initial_types=types, target_opset=15)
        yield name, model, numeric_inputs


def nets():
    """Small nets, written down operator by operator as `torch.onnx.export` writes them."""
    random = numpy.random.default_rng(3)

    def weights(name, *shape):
        values = (random.normal(size=shape) / numpy.sqrt(shape[-1])).astype(numpy.float32)
        return onnx.numpy_helper.from_array(values, name)

    def model(body, initializers):
        graph = onnx.parser.parse_graph(body)
        graph.initializer.extend(initializers)
        opsets = [onnx.helper.make_opsetid("", 17)]
        made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")
        onnx.checker.check_model(made)
        return made

    mlp = """mlp (float[batch, 6] x) => (float[batch, 3] y) {
        a = Gemm<transB = 1>(x, w0, b0)
        b = Relu(a)
        mean = ReduceMean<axes = [-1], keepdims = 1>(b)
        centred = Sub(b, mean)
        two = Constant<value = float {2}>()
        squared = Pow(centred, two)
        variance = ReduceMean<axes = [-1], keepdims = 1>(squared)
        epsilon = Constant<value = float {1e-5}>()
        shifted = Add(variance, epsilon)
        deviation = Sqrt(shifted)
        normal = Div(centred, deviation)
        c = Gemm<transB = 1>(normal, w1, b1)
        y = Softmax<axis = 1>(c)
    }"""
    made = [weights("w0", 16, 6), weights("b0", 16), weights("w1", 3, 16), weights("b1", 3)]
    yield "net_mlp_layer_norm", model(mlp, made), inputs_for("net_mlp_layer_norm")

    conv = """conv (float[batch, 1, 12, 12] x) => (float[batch, 4] y) {
        a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w0, b0)
        b = BatchNormalization<epsilon = 1e-5>(a, scale, bias, mean, variance)
        c = Relu(b)
        d = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
        e = Conv<kernel_shape = [3, 3], strides = [2, 2], group = 2>(d, w1)
        f = HardSwish(e)
        g = GlobalAveragePool(f)
        h = Flatten<axis = 1>(g)
        i = Gemm<transB = 1>(h, w2, b2)
        y = LogSoftmax<axis = 1>(i)
    }"""
    variance = onnx.numpy_helper.from_array(numpy.full(4, 0.7, numpy.float32), "variance")
    made = [weights("w0", 4, 1, 3, 3), weights("b0", 4), weights("scale", 4), weights("bias", 4), weights("mean", 4)]
    made += [variance, weights("w1", 8, 2, 3, 3), weights("w2", 4, 8), weights("b2", 4)]

    def images(rows, seed):
        shape = (rows or 3, 1, 12, 12)
        values = numpy.random.default_rng(seed).normal(size=shape).astype(numpy.float32)
        if not rows:
            values[0], values[1, 0, 3, 4] = 0, 1e4
        return {"x": values}

    yield "net_convolution", model(conv, made), images

    attention = """attention (float[batch, time, 8] x) => (float[batch, time, 8] y) {
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        kt = Transpose<perm = [0, 2, 1]>(k)
        s = MatMul(q, kt)
        root = Constant<value = float {2.828427}>()
        scaled = Div(s, root)
        p = Softmax<axis = -1>(scaled)
        a = MatMul(p, v)
        sum = Add(a, x)
        z = LayerNormalization<axis = -1>(sum, scale, bias)
        half = Erf(z)
        y = Mul(z, half)
    }"""
    made = [weights(name, 8, 8) for name in ("wq", "wk", "wv")] + [weights("scale", 8), weights("bias", 8)]

    def sequences(rows, seed):
        values = numpy.random.default_rng(seed).normal(size=(rows or 2, 5 + rows % 3, 8))
        return {"x": values.astype(numpy.float32)}

    yield "net_attention", model(attention, made), sequences

    lstm = """lstm (float[batch, time, 4] x) => (float[batch, 2] y) {
        t = Transpose<perm = [1, 0, 2]>(x)
        all, last, cell = LSTM<hidden_size = 5>(t, w, r, b)
        zero = Constant<value = int64[1] {0}>()
        s = Squeeze(last, zero)
        y = Gemm<transB = 1>(s, w1, b1)
    }"""
    made = [weights("w", 1, 20, 4), weights("r", 1, 20, 5), weights("b", 1, 40), weights("w1", 2, 5), weights("b1", 2)]

    def steps(rows, seed):
        values = numpy.random.default_rng(seed).normal(size=(rows or 2, 7, 4))
        return {"x": values.astype(numpy.float32)}

    yield "net_lstm", model(lstm, made), steps


def real_models():
    """Models fitted on data sets of everyday size, whose likelihoods are far from one."""
    digits, cancer = load_digits(), load_breast_cancer()
    scaled = make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=300, random_state=0))
    fitted = {
        "digits_multinomial_nb": (MultinomialNB(), digits),
        "digits_complement_nb": (ComplementNB(), digits),
        "digits_categorical_nb": (CategoricalNB(min_categories=17), digits),
        "digits_gaussian_nb": (GaussianNB(), digits),
        "cancer_gaussian_nb": (GaussianNB(), cancer),
        "cancer_mlp": (scaled, cancer),
        "cancer_one_vs_rest": (OneVsRestClassifier(LogisticRegression(max_iter=5000)), cancer),
    }
    for name, (estimator, data) in fitted.items():
        rows = data.data.astype(numpy.float32)
        model = convert_sklearn(
            estimator.fit(rows, data.target),
            initial_types=[("x", FloatTensorType([None, rows.shape[1]]))],
            target_opset=OPSET,
        )
        if name.startswith("digits_"):
            # Likelihoods of 64 pixels are near a thousand, which FP32 rounds to 1e-4: of rows that are not clear
            # onnxruntime and tract each tell another fifth digit, tract the one nearer to that of scikit-learn.
            rows = rows[estimator.predict_proba(rows).max(1) > 0.999]
        yield name, model, functools.partial(real_inputs, rows)


def real_inputs(rows, count, seed):
    return {"x": numpy.random.default_rng(seed).permutation(rows)[: count or 40]}
