"""Writes the small pool that the recipes of the gold loop run on as they stand.

    python -m benchmarks.shipped_pool [FOLDER]

`everyday.jsonl.gz` has pairs with a label each, a quarter of them turned round, and recorded gold
on some; `everyday_opinions.jsonl.gz` what two machines that do not exist say of the same pairs: a
judge that is right on 80 % and a reward model on 75 %, whose errors go together. The texts were
written for this; what is wrong in them is meant to be.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED = 11
GOLD = 120
TURNED = 0.25
MACHINES = (("checker", "llm", 0.80), ("ranker", "reward_model", 0.75))
TOGETHER = 0.3  # of the machines' luck is shared
FRAMES = (
    "A neighbour of mine wants to know {q} What would you tell her?",
    "For a leaflet in the village library: {q} Keep it short.",
    "My nephew, who is nine, keeps asking {q} Use words that he knows.",
    "I have an exam on this tomorrow and need the heart of it: {q}",
    "We argued about it at dinner and nobody gave in: {q} Settle it for us.",
    "Before I write to the newspaper, {q} Two sentences are enough.",
    "For a quiz among colleagues on Friday, {q} Give the answer that I may read out.",
    "My grandmother says that nobody ever told her: {q} Be plain and polite.",
    "In the waiting room a stranger turned to me and said: {q} I had no answer; do you?",
)
EVASIVE = (
    "That depends on many things.",
    "Good question! There are different opinions about it, and it is hard to say.",
    "I would rather not go into that now.",
    "You could look it up somewhere, I suppose.",
    "It just is that way, as everybody knows.",
    "Things like that happen for reasons, and reasons differ.",
)
# category, question, a good answer, another one, a wrong one
TOPICS = (
    ("kitchen", "why does bread dough rise?",
     "Yeast eats sugar in the flour and gives off gas, and the stretchy dough holds the bubbles.",
     "The yeast makes carbon dioxide; gluten traps it, so the loaf swells.",
     "Dough rises because the salt in it swells up like a sponge in warm water."),
    ("kitchen", "why does chopping onions make eyes water?",
     "Cutting breaks the cells, and a gas forms that stings the eye, which washes it out with "
     "tears.",
     "A sulphur gas leaves the cut onion and irritates the eyes; a cold onion gives off less.",
     "Onions are so salty that the salt jumps into the eyes when they are cut."),
    ("kitchen", "how does a pressure cooker save time?",
     "The sealed pot lets pressure build, so water boils at a higher temperature and food cooks "
     "faster.",
     "Under pressure water reaches about 120 degrees instead of 100, which cooks food sooner.",
     "It saves time because it pushes the air out and cold food cooks best without air."),
    ("kitchen", "why should raw chicken be kept apart from salad?",
     "Raw chicken may carry germs that cooking kills, but salad is eaten raw and would pass them "
     "on.",
     "Juice of raw chicken can bring salmonella onto leaves that nobody will cook.",
     "They are kept apart because salad makes the chicken tough and sour."),
    ("kitchen", "what keeps jam from spoiling?",
     "The sugar binds the water that moulds need, the fruit is boiled, and the jar is sealed hot.",
     "Much sugar, boiling and a tight lid leave germs neither water nor air.",
     "Jam keeps because fruit never spoils once it is red."),
    ("kitchen", "why do cut apples turn brown?",
     "Air reaches the cut cells and an enzyme turns their juices brown; lemon juice slows it.",
     "Oxygen and an enzyme of the apple make brown pigments on the cut side.",
     "The iron of the knife rusts inside the apple, so cut apples are dangerous."),
    ("nature", "why do leaves change colour in autumn?",
     "Trees break down the green chlorophyll, and the yellow that was hidden below it shows.",
     "When chlorophyll goes, yellow pigments appear, and some trees make red ones as well.",
     "Leaves turn yellow because the sun is closer in autumn and bleaches them."),
    ("nature", "how do bees tell one another where flowers are?",
     "A bee that found food dances on the comb; the direction and length of the dance say where.",
     "They waggle: the angle gives the direction against the sun, the time the distance.",
     "Bees hum a different note for each kind of flower and each street."),
    ("nature", "what makes the tides?",
     "The pull of the moon, and less so of the sun, raises the sea on two sides of the earth.",
     "Mostly the moon's gravity: the earth turns under two bulges of water, which makes two tides "
     "a day.",
     "Tides come from the wind, which blows the sea ashore in the morning."),
    ("nature", "why do cats have whiskers?",
     "Whiskers feel touch and moving air, so a cat can find its way and its prey in the dark.",
     "They are organs of touch that tell a cat how wide a gap is.",
     "Whiskers keep a cat's face warm, as a beard does."),
    ("nature", "how can a heavy ship float?",
     "It pushes aside as much water as it weighs, because its hull is hollow.",
     "A hull full of air is lighter than the water it displaces, so the water carries it.",
     "Ships float because the engine keeps pushing the water down below them."),
    ("nature", "why is it warmer in summer?",
     "The axis of the earth is tilted: in summer our side gets steeper light and longer days.",
     "Because of the tilt the sun stands higher and shines longer on us in those months.",
     "In summer the earth is much closer to the sun than in winter."),
    ("body", "why do we yawn when others do?",
     "It seems to be a kind of imitation, tied to how well we feel with others; nobody is quite "
     "sure.",
     "Seeing a yawn sets off the same act in us, more with people we know; the cause is still "
     "debated.",
     "We yawn because others have used up the oxygen of the room."),
    ("body", "what does a fever do?",
     "The body raises its temperature on purpose, which slows many germs and speeds up defence.",
     "A fever is part of the immune answer: heat hinders germs; a very high one needs a doctor.",
     "A fever burns off the fat in which germs live."),
    ("body", "why should one drink more on hot days?",
     "Sweat cools the body and costs water and salt, which must be replaced.",
     "We lose water by sweating; without drinking the blood thickens and the head aches.",
     "Because water in the stomach boils away on hot days."),
    ("body", "how does a vaccine protect?",
     "It shows the immune system a harmless piece of a germ, so that it is ready for the real one.",
     "The body learns to know the germ beforehand and makes memory cells and antibodies.",
     "A vaccine kills all germs in the house for a year."),
    ("body", "why do muscles ache after hard work?",
     "Unusual effort leaves tiny injuries in the fibres, and mending them hurts for a day or two.",
     "Small tears in the muscle become sore while they heal, mostly a day later.",
     "The muscles ache because they have run out of blood."),
    ("body", "what happens while we sleep?",
     "The brain sorts memories and clears waste, and the body mends itself and grows.",
     "Stages of deep sleep and dreams take turns; tissue is repaired and memories settle.",
     "The heart stands still at night so that it can rest."),
    ("money", "what is interest on a loan?",
     "It is the price of borrowing: a share of the sum that is owed, paid on top for the time.",
     "The lender gives up the money for a while and is paid a percentage for that.",
     "Interest is a fine for those who pay back too early."),
    ("money", "why do prices rise over the years?",
     "When there is more money or demand than goods, or making them costs more, prices go up.",
     "That is inflation: demand, costs and money grow faster than what there is to buy.",
     "Prices rise because coins get lighter from being carried about."),
    ("money", "what does an insurance do?",
     "Many pay a little so that the few who have a loss can be paid much.",
     "It shares a risk: everybody gives a premium, and whoever suffers the damage gets help.",
     "An insurance keeps accidents from happening to those who pay."),
    ("money", "why should one not put all savings into one company?",
     "If that company fails everything is lost; several that differ rarely all fail at once.",
     "Spreading savings lowers the risk, because losses and gains even out.",
     "One company is forbidden by law to hold the money of one person."),
    ("money", "what is a budget good for?",
     "It sets what comes in against what goes out, so that one sees where money goes and can plan.",
     "A plan of income and spending shows in time what one can afford.",
     "A budget makes the bank add money at the end of the month."),
    ("money", "how does a discount of twenty per cent on forty euros work out?",
     "A fifth of 40 is 8, so the price is 32 euros.",
     "Twenty per cent of 40 euros is 8 euros off, which leaves 32.",
     "Take 20 from 40: it costs 20 euros."),
)  # fmt: skip


def make_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the two files, in the layout `judgments`."""
    generator = np.random.default_rng(SEED)
    places = [(topic, frame) for topic in range(len(TOPICS)) for frame in range(len(FRAMES))]
    known = set(generator.permutation(len(places))[:GOLD].tolist())
    pool, opinions = [], []
    for at, (topic, frame) in enumerate(places):
        category, question, *answers = TOPICS[topic]
        good = answers[frame % 2]
        bad = (
            EVASIVE[(topic + frame) % len(EVASIVE)],
            TOPICS[(topic + 7) % len(TOPICS)][2],
            answers[2],
        )[(topic + frame) % 3]
        first = bool(generator.random() < 0.5)
        pair = {
            "prompt": FRAMES[frame].format(q=question),
            "category": category,
            "response_a": good if first else bad,
            "response_b": bad if first else good,
        }
        label = first ^ bool(generator.random() < TURNED)
        pool.append({**pair, "annotator": "crowd", "kind": "import", "p_a": float(label)})
        if at in known:
            pool.append({**pair, "annotator": "experts", "kind": "human", "gold": True,
                         "p_a": float(first)})  # fmt: skip
        shared = generator.random()
        for name, kind, accuracy in MACHINES:
            luck = shared if generator.random() < TOGETHER else generator.random()
            says = first if luck < accuracy else not first
            sure = round(float(generator.uniform(0.6, 0.95)), 2)
            opinions.append({**pair, "annotator": name, "kind": kind,
                             "p_a": sure if says else round(1 - sure, 2)})  # fmt: skip
    return pool, opinions


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """As gzipped JSONL, the same bytes each time."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as out:
        out.write(text.encode())


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/pools")
    pool, opinions = make_rows()
    write_rows(folder / "everyday.jsonl.gz", pool)
    write_rows(folder / "everyday_opinions.jsonl.gz", opinions)


if __name__ == "__main__":
    main()
