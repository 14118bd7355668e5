"""Words that are no commands: what the agent must let pass. Some sound like commands on purpose.

Two lists without a common word: training hears the first, the evaluation's recordings are of the second. A training
word that happens to be a command of the user's own table is left out by :func:`others`. Training also hears words that
nobody knows (:func:`made_up`): a few hundred real words are too few to learn what "anything else" is.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.scenes.table import Table

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
    """The training words that are no commands of ``table``, and made-up ones."""
    return tuple(word for word in (*TRAIN, *made_up(table)) if word not in table.words)


def made_up(table: Table) -> list[str]:
    """MADE_UP words of one to three syllables, none a word of this file or of ``table``; always the same. Every second
    one begins or ends like a command: what is nearly a command is told apart by nothing else."""
    rng, known, words = np.random.default_rng(0), {*TRAIN, *HELD_OUT, *table.words}, list[str]()
    while len(words) < MADE_UP:
        count = int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25]))
        word = "".join(str(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)) for _ in range(count))
        if len(words) % 2:
            command = str(rng.choice(table.words))
            kept = int(rng.integers(2, max(3, len(command) - 1)))
            word = command[:kept] + word if rng.random() < 0.5 else word + command[-kept:]
        if 3 <= len(word) <= 11 and not any(_alike(word, other) for other in table.words) and word not in known:
            known.add(word)
            words.append(word)
    return words


def _alike(word: str, command: str) -> bool:
    """Whether ``word`` may well sound like ``command``: all but two letters in a row are the same."""
    most = max(len(word), len(command))
    same = next((k for k in range(most) if word[k : k + 1] != command[k : k + 1]), most)
    rest = next((k for k in range(most - same) if word[-1 - k :][:1] != command[-1 - k :][:1]), most - same)
    return same + rest >= most - 2


def held_out(table: Table) -> tuple[str, ...]:
    """The evaluation's unknown words that hold no command of ``table``."""
    commands = set(table.words)
    return tuple(word for word in HELD_OUT if not commands & set(word.split()) and word not in commands)
