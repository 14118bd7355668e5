"""python docs/plain/drive.py BUNDLE IN.npz MINE.npz [--settle]: runs a wan_streamer bundle by docs/unit.md alone

IN.npz is written by ``python -m tests.plain.reference`` and holds knobs and the units' inputs; MINE.npz gets the
answers under the same names. ``--settle``: use the idle time. Words between stars are sections of that page. Left
out: checks of files and of what comes out, prefixes of media, and the words, which want a tokenizer.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

BUNDLE, IN, SETTLE = Path(sys.argv[1]), np.load(sys.argv[2]), "--settle" in sys.argv
MANIFEST = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
C, STATES, TABLE = MANIFEST["constants"], MANIFEST["states"], MANIFEST["embeddings"][0]
FLAGS = set(Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else [])

# *Sizes that follow from the constants*. The pinned prefix is like a segment of unit 0, in a ring with window 0.
WINDOW = {"main": C["window_units"], "video": C["video_window_units"], "prefix": 0}
PREFIX = {"name": "prefix", "ring": "prefix", "count": C["prefix_tokens"], "offset": -C["prefix_tokens"], "step": 1}
P, TOKENS = dict.fromkeys(WINDOW, 0), {}  # of each segment's tokens: position in the unit, ring, place in the block
for s in [*C["segments"], PREFIX]:
    TOKENS[s["name"]] = [(s["offset"] + j * s["step"], s["ring"], P[s["ring"]] + j) for j in range(s["count"])]
    P[s["ring"]] += s["count"]
AGENT = TOKENS["agent.video"] + TOKENS["agent.audio"]
USER = TOKENS["user.video"] + TOKENS["user.audio"] + TOKENS["user.text"]
A, U, S, K, N = len(AGENT), len(USER), len(TOKENS["slots"]), C["candidates"], int(IN["steps"])
cut, m = np.cumsum([np.prod(C["video_latent"]), np.prod(C["audio_latent"])])  # how many numbers the solver starts from

# *State at the start*
RINGS = {ring: [state for state in STATES if state.get("ring") == ring] for ring in WINDOW}
held = {"state." + each["path"]: np.full(each["shape"], each.get("start", 0), each["dtype"]) for each in STATES}
held |= {f"valid.{ring}": np.full((1, RINGS[ring][0]["shape"][1]), -3e4, "f4") for ring in WINDOW if RINGS[ring]}

# *Typed text, tokens, the agent's words*: the embedding table, [rows, width] whichever way it lies in its file
order, sizes = {"row": "C", "column": "F"}[TABLE["layout"]], (TABLE["rows"], TABLE["width"])
table = np.memmap(BUNDLE / TABLE["file"], TABLE["dtype"], "r", TABLE["offset"], sizes, order).astype("f4")
if TABLE["dtype"] == "int8":
    table *= np.memmap(BUNDLE / TABLE["file"], "f4", "r", TABLE["scales_offset"], (sizes[0], 1))


def open_graph(graph):
    """*ONNX Runtime*"""
    options, kind, dtypes = onnxruntime.SessionOptions(), graph["precision"], [i["dtype"] for i in graph["inputs"]]
    options.intra_op_num_threads = 1  # any number will do, but the last digits of a sum depend on it
    settings = {
        "qdqisint8allowed": kind["activations"] in ("int8", "mixed") or "int8" in dtypes,
        "disable_quant_qdq": kind["weights"] == "int8" and kind["activations"] == "float32",
        "qdq_matmulnbits_accuracy_level": 4 * (kind["weights"] in ("int4", "mixed")),
        "x64quantprecision": kind["dynamic"] and not {"avx512_vnni", "avx_vnni"} & FLAGS and "sse2" in FLAGS,
    }
    for name in filter(settings.get, settings):
        options.add_session_config_entry(f"session.{name}", str(int(settings[name])))
    return onnxruntime.InferenceSession(BUNDLE / graph["file"], options, providers=["CPUExecutionProvider"])


def run(graph, **feeds):
    """One run. Carries are taken over at once, for nothing here takes a unit back."""
    given = {each.name: feeds.get(each.name, held.get(each.name)) for each in graphs[graph].get_inputs()}
    got = dict(zip([each.name for each in graphs[graph].get_outputs()], graphs[graph].run(None, given), strict=True))
    held.update({"state" + name[10:]: value for name, value in got.items() if name.startswith("state_next.")})
    return got


def core(rows, tokens, units, groups, n=None):
    """*The order of tokens and passes*: a row of each list per token; with n, committed to unit number n's block"""
    angles, frequency = {}, C["rope_base"] ** (-2 * np.arange(C["head_size"] // 2) / C["head_size"])
    for prefix, last in {"": max(units), "prefix_": C["window_units"]}.items():  # *Positions and rotary angles*
        positions = np.minimum(units, last) * C["positions_per_unit"] + [position for position, *_ in tokens]
        angles[prefix + "cos"] = np.cos(positions[:, None] * frequency).astype("f4")
        angles[prefix + "sin"] = np.sin(positions[:, None] * frequency).astype("f4")
    got = run("core", embeddings=rows[None], group=np.array(groups, "f4"), **angles)
    for row, (_, ring, place) in enumerate(tokens if n is not None else []):  # *Writing into a ring*
        at = n % (WINDOW[ring] + 1) * P[ring] + place
        for state in RINGS[ring]:
            held["state." + state["path"]][:, at] = got[state["append"]][:, row]
        held["valid." + ring][:, at] = 0
    return got["hidden"][0]


def uniform(stream, k, count):
    """*Noise*: numpy counts before it draws, so it is told 0 for the first block."""
    words = np.random.Philox(counter=[0, 0, k, stream], key=np.array([IN["seed"], 0], "u8")).random_raw(count)
    return ((words >> np.uint64(11)) + np.uint64(1)) * 2.0**-53


graphs, answers, past = {each["name"]: open_graph(each) for each in MANIFEST["graphs"]}, [], []
choose = (IN["temperature"], IN["top_k"] or K, IN["top_p"]) if IN["temperature"] else (1, 1, 1)  # *Knobs*
knobs = {"temperature": np.float32(choose[:1]), "top_k": np.int32(choose[1:2]), "top_p": np.float32(choose[2:])}
for i, token in enumerate(IN["in.prefix"]):  # *The pinned prefix*
    core(table[[token]], TOKENS["prefix"][i : i + 1], [0], [0], n=0)

for k in range(len(IN["in.samples"])):  # *One unit*; here n is k
    user = run("encode", samples=IN["in.samples"][k], frames=IN["in.frames"][k])
    rows = np.concatenate([*past, user["user.video"], user["user.audio"], table[[*IN["in.text"][k], C["token_start"]]]])
    units, groups, T = [k - 1] * A + [k] * (U + 1), [0] * A + [1] * U + [2], len(rows)
    hidden = core(rows, [*AGENT, *USER, *TOKENS["start"]][-T:], units[-T:], groups[-T:], n=k)
    gumbel = -np.log(-np.log(np.minimum(uniform(1, k, S * K), 1 - 2.0**-53)))  # does not matter where greedy
    noise, slots = gumbel.astype("f4").reshape(S, K), []
    for s in range(S):
        slots.append(run("slot", hidden=hidden[-1:], noise=noise[s], **knobs))
        hidden = core(table[slots[s]["token"]], TOKENS["slots"][s : s + 1], [k], [0], n=k)
    r, a = np.split(uniform(0, k, m + m % 2), 2)
    z = np.ravel(np.sqrt(-2 * np.log(r)) * [np.cos(2 * np.pi * a), np.sin(2 * np.pi * a)]).astype("f4")[:m]
    x = {"latents.video": z[:cut].reshape(C["video_latent"]), "latents.audio": z[cut:].reshape(C["audio_latent"])}
    for i in range(N):
        x |= {"t": np.float32([1 - i / N]), "dt": np.float32([1 / N])}
        hidden = core(run("solve_in", **x)["embeddings"], AGENT, [k] * A, [0] * A)
        x = {name[5:]: value for name, value in run("solve_out", hidden=hidden, **x).items()}
    past = [run("solve_in", **x, t=np.zeros(1, "f4"), dt=np.zeros(1, "f4"))["embeddings"]]
    shown = run("decode", **x)
    for ring in ("main", "video"):  # the next unit's block
        held["valid." + ring][:, (k + 1) % (WINDOW[ring] + 1) * P[ring] :][:, : P[ring]] = -3e4
    if SETTLE:  # *Idle time*
        core(past.pop(), AGENT, [k] * A, [0] * A, n=k + 1)
    slots = {"tokens": np.concatenate([s["token"] for s in slots]), "scores": np.stack([s["scores"] for s in slots])}
    answers.append({**slots, **x, "samples": shown["samples"], "frames": shown["frames"]})
np.savez(sys.argv[3], **{name: np.stack([answer[name] for answer in answers]) for name in answers[0]})
