"""Which rows the balancer benchmark has, what each must not exceed, and which peers' steps stand beside it."""

import ast
import re

PLAIN = {"label": "plain", "side": "keras", "name": "plain"}
SEPARATE = {"label": "plain, separate heads", "side": "keras", "name": "plain", "fuse": False}
FLOOR = {"label": "floor", "side": "keras", "name": "floor"}

# Ways that cost every method of the Gramian the same are measured on these.
VARIED = ("mgda", "upgrad")
VARIANTS = ({"update_every": 10}, {"gram_fraction": 0.125})

_LIBMTL = {
    "equal": ("EW", {}),
    "uncertainty": ("UW", {}),
    "dwa": ("DWA", {"T": 2.0}),
    "rlw": ("RLW", {}),
    "gls": ("GLS", {}),
    "stch": ("STCH", {"STCH_mu": 1.0, "STCH_warmup_epoch": 4}),
    "famo": ("FAMO", {"FAMO_w_lr": 0.025, "FAMO_w_gamma": 1e-3}),
    "gradnorm": ("GradNorm", {"alpha": 1.5}),
    "mgda": ("MGDA", {"mgda_gn": "none"}),
    "imtl": ("IMTL", {}),
    "imtlg": ("IMTL", {}),
    "aligned": ("Aligned_MTL", {}),
    "pcgrad": ("PCGrad", {}),
    "gradvac": ("GradVac", {"GradVac_beta": 0.5, "GradVac_group_type": 0}),
    "graddrop": ("GradDrop", {"leak": 0.0}),
    "cagrad": ("CAGrad", {"calpha": 0.5, "rescale": 1}),
    "nash": ("Nash_MTL", {"update_weights_every": 1, "optim_niter": 20, "max_norm": 1.0}),
    "moco": (
        "MoCo",
        {"MoCo_beta": 0.5, "MoCo_beta_sigma": 0.5, "MoCo_gamma": 0.1, "MoCo_gamma_sigma": 0.5, "MoCo_rho": 0},
    ),
    "db": ("DB_MTL", {"DB_beta": 0.9, "DB_beta_sigma": 0}),
    "excess": ("ExcessMTL", {"robust_step_size": 1e-2}),
    "fairgrad": ("FairGrad", {"FairGrad_alpha": 1.0}),
    "modo": ("MoDo", {"MoDo_gamma": 1e-3, "MoDo_rho": 0.1}),
    "sdmgrad": ("SDMGrad", {"SDMGrad_lamda": 0.3, "SDMGrad_niter": 20}),
    "upgrad": ("UPGrad", {"UPGrad_norm_eps": 1e-4, "UPGrad_reg_eps": 1e-4}),
}
# Those of LibMTL that can balance gradients of the features.
_LIBMTL_FEATURES = ("gradnorm", "mgda", "imtl", "imtlg", "aligned", "graddrop", "excess")
_JACOBIAN = {
    "mgda": ("MGDA", {}),
    "imtlg": ("IMTLG", {}),
    "aligned": ("AlignedMTL", {}),
    "pcgrad": ("PCGrad", {}),
    "gradvac": ("GradVac", {}),
    "graddrop": ("GradDrop", {}),
    "cagrad": ("CAGrad", {"c": 0.5}),
    "nash": ("NashMTL", {"n_tasks": "K"}),
    "excess": ("ExcessMTL", {}),
    "fairgrad": ("FairGrad", {"alpha": 1.0}),
    "upgrad": ("UPGrad", {}),
    "dualproj": ("DualProj", {}),
    "config": ("ConFIG", {}),
    "krum": ("Krum", {"n_byzantine": 0}),
    "trimmedmean": ("TrimmedMean", {"trim_number": 1}),
    "pcd": ("PCD", {}),
}
_SCALARIZED = {
    "uncertainty": ("UW", {"shape": "K"}),
    "dwa": ("DWA", {}),
    "rlw": ("Random", {}),
    "gls": ("GeometricMean", {}),
    "imtll": ("IMTLL", {"shape": "K"}),
    "stch": ("STCH", {"mu": 1.0}),
    "famo": ("FAMO", {"shape": "K"}),
}


def _key(name):
    """A name without its spelling: `nash_mtl`, `Nash-MTL` and `nash` are one."""
    letters = re.sub("[^a-z]", "", name.lower())
    return letters.removesuffix("mtl") if len(letters) > 4 else letters


def row(name, options, needs):
    """A row of ours."""
    label = ", ".join([name, *(f"{key}={value}" for key, value in options.items())])
    return {"label": label, "side": "keras", "name": name, "options": options, "needs": needs}


def parsed(text, methods):
    """The row of `name` or `name:option=value,option=value`."""
    name, _, options = text.partition(":")
    needs = methods.get(name, {}).get("needs")
    return row(name, dict(_option(pair) for pair in options.split(",") if pair), needs)


def _option(pair):
    key, _, value = pair.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        # A word.
        return key, value


def default_rows(methods):
    """Every method that the library knows, and its cheaper ways; methods of losses first."""
    order = ("losses", "gram", "gradients")
    rows = []
    for name in sorted(methods, key=lambda name: (order.index(methods[name]["needs"]), name)):
        needs, has_online = methods[name]["needs"], methods[name]["online"]
        rows.append(row(name, {}, needs))
        if needs == "gram":
            rows.append(row(name, {"level": "features"}, needs))
            rows += [row(name, {"solve": "online"}, needs)] if has_online else []
            rows += [row(name, options, needs) for options in VARIANTS if name in VARIED]
    return rows


def bar(row, count):
    """What the row's ratio must not exceed: `(base, bar)`, or None."""
    options, needs = row.get("options"), row.get("needs")
    if options is None or needs is None:
        return None
    if needs == "losses":
        return "plain", 1.4 if row["name"] == "famo" else 1.05
    known = {
        ("level", "features"): ("plain", 1.10),
        ("update_every", 10): ("plain", 1.5) if count == 10 else None,
        ("solve", "online"): ("plain", 1.9),
    }
    if options:
        return known.get(next(iter(options.items())))
    return ("floor", 1.10) if needs == "gram" else None


def peers(rows, layouts, path, has_torchjd):
    """The peers' rows beside these rows of ours, each once."""
    found = {}
    for mine in rows:
        key, level = _key(mine["name"]), mine["options"].get("level")
        for library, kind, table in (
            ("PyTorch", "plain", {"equal": ("plain", {})}),
            ("LibMTL", "libmtl", _LIBMTL if path else {}),
            ("TorchJD", "scalarized", _SCALARIZED if has_torchjd else {}),
            ("TorchJD", "jacobian", _JACOBIAN if has_torchjd else {}),
        ):
            if key not in table or not _fits(kind, key, level):
                continue
            name, options = table[key]
            common = {"side": "torch", "library": library, "kind": kind, "name": name, "options": options}
            common |= {"path": path, "level": level or "parameters"}
            found |= {(one := _peer(common, layout))["label"]: one for layout in layouts}
    return list(found.values())


def _fits(kind, key, level):
    """Whether a peer offers a method at a level."""
    if level == "features":
        return kind == "libmtl" and key in _LIBMTL_FEATURES
    return kind != "libmtl" or key != "graddrop"


def _peer(common, layout):
    level = ", features" if common["level"] == "features" else ""
    return {**common, "layout": layout, "label": f"{common['library']} {common['name']}{level} [{layout}]"}


def beside(mine, labels):
    """Labels of the peers' rows that do what this row does."""
    exact = {**mine, "options": {key: value for key, value in mine["options"].items() if key == "level"}}
    wanted = peers([exact], ("contiguous", "channels_last"), "any", True)
    return [peer["label"] for peer in wanted if peer["label"] in labels]
