"""The list of the subcommands, each a package (command.py: signature and help; plan, run, result, pictures) or one file.

Not here: what several commands share (nodes, frame, report, core).
"""

from importlib import import_module
from types import ModuleType

__all__ = ["COMMANDS", "GROUPS", "module_of"]

GROUPS: dict[str, dict[str, str]] = {
    "Begin": {
        "demo": "Run the whole chain on shipped scenes and tiny models, printing each command before it runs.",
        "look": "Look at photographs through models: extract, cut, color and report in one go, to one page that "
        "is the result.",
        "models": "List the models that extract knows: short names, shipped ones, timm's, open_clip's and torchvision's.",
        "plan": "Tell what a study of so many photographs takes: bytes, operations, passes and seconds, and "
        "what breaks first.",
    },
    "From photographs to eigenvectors and colours": {
        "extract": "Read what each layer of a model sees in photographs, or makes of their captions: "
        "a feature set per model and tap.",
        "brain": "Show what brain data (or any responses to images) hold: images, voxels, ROIs, ceilings, what is missing.",
        "align": "Learn one linear map per slot into channels that all slots share, by predicting responses to "
        "the same images.",
        "cut": "Cut the graph of all patches with normalized cut: the top eigenvectors, one row per node.",
        "color": "Colour every node by its place in a spectral t-SNE: the same colour means the same to the network.",
    },
    "What the eigenvectors and features tell": {
        "segment": "Score how well the eigenvectors of each layer separate the classes of a ground truth.",
        "pathways": "Measure what the clusters of cuts tell of what is there, and of where it is.",
        "compare": "Say how far two cuts, colorings or alignments of the same images agree, slot by slot.",
        "tree": "Grow one nested tree over the nodes of a cut: 2 to 64 clusters from the same eigenvectors.",
        "trace": "Follow patches from layer to layer through one map of all models and layers (paper, Sec. 3.4).",
        "concepts": "Say what the channels mean: predicted responses of brain regions to figure, ground, classes "
        "and concepts.",
        "score": "Score how well each layer of each model predicts brain data, by measures that are meant to be "
        "read together.",
        "probe": "Predict classes or responses from an embedding, and from its similarity to a few queries in words.",
        "report": "Write one HTML page of a study: pick any patch of any photograph, and see everything by how like it is.",
    },
    "Look after a project": {
        "status": "Say of every artifact whether it is fresh, stale, partial, corrupt or missing, why, and how to "
        "repair it.",
        "show": "Show an artifact's parameters, tensors and provenance, from its header alone; or export its table.",
        "check": "Check headers, shapes across artifacts, and leftovers of killed runs; with --deep every byte.",
    },
}
"""The commands as the help lists them, each with the first line of what it says of itself (a test compares)."""
COMMANDS = {name: summary for listed in GROUPS.values() for name, summary in listed.items()}


def module_of(name: str) -> ModuleType:
    """The module of one of COMMANDS, loaded: its `NAME`, `EXAMPLES` and `command`, and `BEFORE` and `EXPORTS` if any."""
    found = import_module(f"alignedcut_cli.commands.{name}")
    return import_module(f"{found.__name__}.command") if hasattr(found, "__path__") else found
