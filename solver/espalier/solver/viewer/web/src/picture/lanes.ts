// Where everything of the picture lies: lanes from top to bottom, time from left to right.

import { type Branch, type Candidate, keyOf, rootOf, type Solve, stepsOf } from "../solve/model";

export const LANE = 26;
export const STEP = 22;
export const GAP = 6;

export interface Lane {
  candidate: Candidate;
  branch: Branch;
  /** Of its upper edge. */
  y: number;
  height: number;
  /** Index of the lane that it forks from; -1: none. */
  parent: number;
  /** Stands for all branches of its candidate. */
  whole: boolean;
}

export interface Lanes {
  lanes: Lane[];
  height: number;
}

/** Lanes of all candidates; only the expanded ones show their steps. */
export function lanesOf(solve: Solve, expanded: ReadonlySet<number>): Lanes {
  const lanes: Lane[] = [];
  let y = GAP;
  const place = (candidate: Candidate, branch: Branch, parent: number, whole: boolean) => {
    const height = branch.path.length === 0 ? LANE : STEP;
    const index = lanes.push({ candidate, branch, y, height, parent, whole }) - 1;
    y += height;
    if (!whole) for (const step of stepsOf(candidate, branch.path)) place(candidate, step, index, false);
  };
  for (const candidate of solve.candidates.values()) {
    const forked = candidate.branches.size > 1;
    const open = forked && expanded.has(candidate.spec.index);
    place(candidate, rootOf(candidate), -1, !open);
    y += open ? GAP : 0;
  }
  return { lanes, height: y + GAP };
}

/** Index of the first lane that ends below `y`. */
export function firstBelow(lanes: Lane[], y: number): number {
  let low = 0;
  let high = lanes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const lane = lanes[middle]!;
    if (lane.y + lane.height <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function laneAt(lanes: Lane[], y: number): Lane | null {
  const lane = lanes[firstBelow(lanes, y)];
  return lane && lane.y <= y ? lane : null;
}

/** A stretch of time and the pixels that it is shown on. */
export interface Scale {
  from: number;
  to: number;
  left: number;
  right: number;
}

export const xOf = (scale: Scale, time: number): number =>
  scale.left + ((time - scale.from) / (scale.to - scale.from)) * (scale.right - scale.left);

export const timeAt = (scale: Scale, x: number): number =>
  scale.from + ((x - scale.left) / (scale.right - scale.left)) * (scale.to - scale.from);

/** Round times for the axis, at least `apart` pixels from each other. */
export function ticks(scale: Scale, apart: number): number[] {
  const rough = ((scale.to - scale.from) * apart) / Math.max(1, scale.right - scale.left);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const found: number[] = [];
  for (let number = Math.ceil(scale.from / step); number * step <= scale.to; number++) found.push(number * step);
  return found;
}

/** Tokens in each of `bins` equal parts of the scale, smoothed a little so that a steady stream of tokens looks steady. */
export function density(branches: Iterable<Branch>, scale: Scale, bins: number): Float32Array {
  const counts = new Float32Array(bins);
  const factor = bins / (scale.to - scale.from);
  for (const { times } of branches) {
    for (const time of times) {
      const bin = Math.floor((time - scale.from) * factor);
      if (bin >= 0 && bin < bins) counts[bin]!++;
    }
  }
  return smoothed(smoothed(counts));
}

const REACH = 3;

/** The mean of each value and the two beside it. */
function smoothed(values: Float32Array): Float32Array {
  const smooth = new Float32Array(values.length);
  for (let at = 0; at < values.length; at++) {
    let sum = 0;
    for (let near = at - REACH; near <= at + REACH; near++) sum += values[near] ?? 0;
    smooth[at] = sum / (2 * REACH + 1);
  }
  return smooth;
}

/** Branches of a candidate whose tokens a lane shows. */
export function shownBy(lane: Lane): Iterable<Branch> {
  return lane.whole ? lane.candidate.branches.values() : [lane.branch];
}

const STRIDE = 16;

/** The busiest that a branch and a whole candidate get, tokens a second, over some tokens each. */
export function peaks(solve: Solve): { branch: number; whole: number } {
  let branch = 1;
  let whole = 1;
  for (const candidate of solve.candidates.values()) {
    let together = 0;
    for (const { path, times } of candidate.branches.values()) {
      let most = 0;
      for (let at = 0; at + STRIDE < times.length; at += STRIDE) {
        most = Math.max(most, STRIDE / Math.max(times[at + STRIDE]! - times[at]!, 1e-3));
      }
      branch = Math.max(branch, most);
      if (path.length === 1 && path[0]![0] === 0) together += most;
    }
    whole = Math.max(whole, together);
  }
  return { branch, whole: Math.max(whole, branch) };
}

/** Stretches of time in which a branch decodes itself: all of its own, less those in which its blocks run. */
export function decoding(candidate: Candidate, branch: Branch, end: number): [from: number, to: number][] {
  const stretches: [number, number][] = [];
  let from = branch.opened;
  for (const { fork, join } of blocksOf(candidate, branch)) {
    if (fork > from) stretches.push([from, fork]);
    from = join ?? end;
  }
  if (end > from) stretches.push([from, end]);
  return stretches;
}

/** Blocks of a branch: when they forked, when they joined, and the keys of their steps. */
export function blocksOf(candidate: Candidate, branch: Branch): { fork: number; join: number | null; steps: string[] }[] {
  const blocks = new Map<number, { fork: number; join: number | null; steps: string[] }>();
  for (const step of stepsOf(candidate, branch.path)) {
    const number = step.path.at(-1)![0];
    const block = blocks.get(number) ?? { fork: step.opened, join: branch.joins[blocks.size] ?? null, steps: [] };
    block.fork = Math.min(block.fork, step.opened);
    block.steps.push(keyOf(step.path));
    blocks.set(number, block);
  }
  for (const block of blocks.values()) {
    // Jobs do not tell of joins: a block whose steps are all closed has joined.
    const closed = block.steps.map((key) => candidate.branches.get(key)!.closed);
    if (block.join === null && closed.every((time) => time !== null)) block.join = Math.max(...(closed as number[]));
  }
  return [...blocks.values()];
}
