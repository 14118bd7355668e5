"""Words that are no commands: what the agent must let pass. Some sound like commands on purpose.

Two lists without a common word: training hears the first, the evaluation's recordings are of the second. A training
word that is a command of the user's own table, or sounds like one, is left out by :func:`others`. Training also hears
words that nobody knows (:func:`made_up`): a few hundred real words are too few to learn what "anything else" is.
"""

from __future__ import annotations

from itertools import compress

import numpy as np

from edge_streamer.export.demo_model.speech import ACCENTS, phonemes
from edge_streamer.runtime.evaluation.world.table import Table

MADE_UP = 2000
"""Words that nobody knows."""
ONSETS = "b bl br c ch cl cr d dr f fl g gl gr h j k l m n p pl pr qu r s sh sl sn sp st str t tr th v w z".split()  # noqa: SIM905
VOWELS = "a a e e i o u oo ee ai ou ar or er y".split()  # noqa: SIM905
CODAS = ["", "", "", *"b d g k l m n n nd nt ng p r s st t th x mp lt".split()]  # noqa: SIM905

TRAIN = tuple("""
yellow|fellow|mellow|jelly|hell|hollow|helium|below|feather|leather|whether|heather|wetter|wether|better|together|
musing|muse|amuse|basic|magic|fabric|cubic|mystic|glory|stories|storm|stormy|sorry|lorry|quarry|category|history|
lumber|timber|under|thunder|slumber|member|remember|winner|thinner|sinner|inner|diner|donor|tender|dimmer|simmer|
holly|holy|holder|holding|melody|hollywood|monday|birthday|everyday|yesterday|manual|annual|enamel|animate|cannibal|
mineral|national|camera|goodness|good|good night|good morning|goods|by the way|buying|bike|a gain|against|gain|begin|
a game|engine|pagan|collar|caller|cola|colony|cold|cover|culture|scholar|column|stock|stomp|top|shop|drop|stack|step|
stuff|start|stone|stand|star|spot|store|yes|no|maybe|okay|right|well|so|um|uh huh|mhm|hmm|yeah|sure|really|of course|
table|window|garden|river|mountain|bottle|paper|pencil|orange|lemon|apple|banana|potato|butter|coffee|sugar|kitchen|
doctor|teacher|driver|farmer|sister|brother|mother|father|uncle|cousin|baby|children|people|woman|man|friend|
morning|evening|night|summer|winter|spring|autumn|january|april|october|tuesday|friday|minute|hour|second|week|
one|two|three|four|five|six|eight|nine|ten|eleven|twelve|twenty|hundred|thousand|million|
red|green|blue|black|white|brown|purple|silver|golden|bright|dark|heavy|light|quick|slow|happy|angry|hungry|tired|
running|walking|jumping|reading|writing|talking|listen|think|remain|travel|forget|forgive|believe|decide|explain|
computer|telephone|machine|battery|picture|mirror|blanket|pillow|carpet|ceiling|curtain|cupboard|drawer|ladder|
station|airport|hospital|library|market|museum|theatre|village|city|country|island|forest|desert|ocean|valley|
horse|rabbit|tiger|lion|elephant|monkey|chicken|pigeon|spider|dolphin|turtle|donkey|
bread|cheese|tomato|onion|pepper|garlic|chocolate|biscuit|sandwich|salad|cereal|vinegar|
jacket|trousers|shirt|shoes|socks|gloves|necklace|umbrella|button|pocket|
football|tennis|hockey|swimming|cycling|marathon|referee|
what is that|how are you|come here|over there|in the house|on the table|after that|before long|not today|too late|
where are they|see you later|give it to me|i do not know|that is fine|let me see|wait for me|as you like|
it is raining|she went home|he is here|they are late|we have to go|turn it off|open the door|close the window|
the train is late|call me back|put it down|look at this|never mind|thank you|excuse me|happy to help
""".replace("\n", "").split("|"))  # fmt: skip

HELD_OUT = tuple("""
cello|weaver|mutual|stolen|number plate|dinosaur|hurricane|antelope|goodwill|begonia|curler|stopwatch|
willow|seventy|clever|paragraph|candle|marble|violin|trumpet|guitar|pyramid|compass|anchor|lantern|helmet|
napkin|saucer|kettle|teapot|pumpkin|carrot|celery|cucumber|walnut|raisin|mustard|
badger|hamster|parrot|penguin|lizard|beetle|
plumber|painter|baker|captain|lawyer|nephew|
october sky|pass the salt|where is my coat|the bus is full|they like it here|ask her again later|
no problem|i think so|one moment|never again please|close to the river|half past nine
""".replace("\n", "").split("|"))  # fmt: skip


def others(table: Table) -> tuple[str, ...]:
    """The training words that are no commands of ``table`` and do not sound like one, and made-up ones."""
    return tuple(_unlike(TRAIN, table)) + tuple(made_up(table))


def made_up(table: Table) -> list[str]:
    """MADE_UP words of one to three syllables, none a word of this file or of ``table``; always the same. Every second
    one begins or ends like a command: what is nearly a command is told apart by nothing else."""
    rng, known = np.random.default_rng(0), {*TRAIN, *HELD_OUT, *table.words}
    drawn = dict[str, None]()
    while len(drawn) < MADE_UP * 5 // 4:  # a few sound like commands
        count = int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25]))
        word = "".join(str(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)) for _ in range(count))
        if len(drawn) % 2:
            command = str(rng.choice(table.words))
            kept = int(rng.integers(2, max(3, len(command) - 1)))
            word = command[:kept] + word if rng.random() < 0.5 else word + command[-kept:]
        if 3 <= len(word) <= 11 and word not in known:
            drawn[word] = None
    return _unlike(tuple(drawn), table)[:MADE_UP]


def _unlike(words: tuple[str, ...], table: Table) -> list[str]:
    """Those of ``words`` that are no command of ``table`` and differ from each by more than one phoneme in every
    accent: "whether" is "weather", and "winner" in a noisy room is "dinner". Taught to let these pass, a model misses
    the commands themselves in voices that it has never heard."""
    alike = set(table.words)
    for accent in ACCENTS:
        said = phonemes((*words, *table.words), accent)
        commands = said[len(words) :]
        near = (any(apart(sounds, command) <= 1 for command in commands) for sounds in said[: len(words)])
        alike.update(compress(words, near))
    return [word for word in words if word not in alike]


def apart(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many phonemes must be put in, left out or exchanged to make one of the other; 2 stands for any more."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return 2
    same = next((k for k in range(len(short)) if short[k] != long[k]), len(short))
    if same == len(long):
        return 0
    rest = short[same + 1 :] if len(short) == len(long) else short[same:]
    return 1 if rest == long[same + 1 :] else 2


def held_out(table: Table) -> tuple[str, ...]:
    """The evaluation's unknown words that hold no command of ``table``."""
    commands = set(table.words)
    return tuple(word for word in HELD_OUT if not commands & set(word.split()) and word not in commands)
