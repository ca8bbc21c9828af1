"""Random response trees, and the rules of visibility and position written down naively, to test the layout against."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from espalier.runtime.grammar import Tag, Vocabulary

VOCABULARY = Vocabulary(
    tags=dict(enumerate(Tag)),  # 0..7 the eight tags, 8 the end of turn
    newline=(9,),
    labels=tuple((9, 10 + i, 30) for i in range(8)),
)
TEXT = st.integers(31, 60)


@dataclass(frozen=True)
class Step:
    """The inside of a step or of the root response: text, then blocks each followed by text."""

    lead: tuple[int, ...]
    blocks: tuple[tuple[Block, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Block:
    plans: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    takeaway: tuple[int, ...]


@dataclass(frozen=True)
class Placed:
    """One token with what the rules need to know: its steps from the root inwards as (id of block, number)."""

    token: int
    steps: tuple[tuple[int, int], ...]
    position: int


def texts(least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(TEXT, min_size=least, max_size=3).map(tuple)


@st.composite
def steps(draw: st.DrawFn, depth: int) -> Step:
    count = draw(st.integers(0, 1)) if depth else 0
    return Step(draw(texts()), tuple((draw(blocks(depth - 1)), draw(texts())) for _ in range(count)))


@st.composite
def blocks(draw: st.DrawFn, depth: int) -> Block:
    count = draw(st.integers(1, 3))
    return Block(
        tuple(draw(texts(1)) for _ in range(count)), tuple(draw(steps(depth)) for _ in range(count)), draw(texts())
    )


@st.composite
def responses(draw: st.DrawFn, depth: int = 2) -> Step:
    count = draw(st.integers(1, 2))
    return Step(draw(texts()), tuple((draw(blocks(depth)), draw(texts(1))) for _ in range(count)))


def tag(which: Tag) -> int:
    return VOCABULARY.id_of(which)


class Placer:
    """Writes a tree out token by token, straight from the rules."""

    def __init__(self, prompt: tuple[int, ...]) -> None:
        self.placed: list[Placed] = []
        self.blocks = 0
        self.position = 0
        self.write(prompt, ())

    def write(self, tokens: tuple[int, ...], inside: tuple[tuple[int, int], ...]) -> None:
        for token in tokens:
            self.placed.append(Placed(token, inside, self.position))
            self.position += 1

    def step(self, step: Step, inside: tuple[tuple[int, int], ...]) -> None:
        self.write(step.lead, inside)
        for block, after in step.blocks:
            self.block(block, inside)
            self.write(after, inside)

    def block(self, block: Block, inside: tuple[tuple[int, int], ...]) -> None:
        self.blocks += 1
        identity = self.blocks
        self.write((tag(Tag.GUIDELINE),), inside)
        for plan in block.plans:
            self.write((tag(Tag.PLAN), *plan, tag(Tag.END_PLAN)), inside)
        self.write((tag(Tag.END_GUIDELINE),), inside)
        fork, furthest = self.position, self.position
        for number, step in enumerate(block.steps, start=1):
            self.position = fork
            own = (*inside, (identity, number))
            self.write(VOCABULARY.step_opening(number), own)
            self.step(step, own)
            self.write((tag(Tag.END_STEP),), own)
            furthest = max(furthest, self.position)
        self.position = furthest
        self.write((*VOCABULARY.takeaway_opening(), *block.takeaway, tag(Tag.END_TAKEAWAY)), inside)


def place(response: Step, prompt: tuple[int, ...]) -> list[Placed]:
    placer = Placer(prompt)
    placer.step(response, ())
    placer.write((tag(Tag.END_OF_TURN),), ())
    return placer.placed


def visible(placed: list[Placed], i: int, j: int) -> bool:
    """Causal, except that two different steps of the same block never see each other."""
    mine, theirs = dict(placed[i].steps), dict(placed[j].steps)
    return j <= i and all(theirs[block] == number for block, number in mine.items() if block in theirs)
