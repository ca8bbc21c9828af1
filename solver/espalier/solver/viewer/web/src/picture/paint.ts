// Paints the visible part of a picture.

import type { Chain } from "../solve/critical";
import { branchStanding, endOf, keyOf, type Solve, standing, type Standing } from "../solve/model";
import { blocksOf, decoding, density, firstBelow, type Lane, type Lanes, type Scale, shownBy, ticks, xOf } from "./lanes";

export const AXIS = 28;
const BIN = 2;
const LEAST = 0.02; // of a token

export interface Palette {
  ink: string;
  muted: string;
  faint: string;
  line: string;
  panel: string;
  chosen: string;
  selected: string;
  critical: string;
  stem: string;
  font: string;
  of: Record<Standing, string>;
}

export function palette(element: Element): Palette {
  const style = getComputedStyle(element);
  const value = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const of = Object.fromEntries(
    (["pass", "fail", "unknown", "error", "running", "aborted"] as const).map((name) => [name, value(name)]),
  ) as Record<Standing, string>;
  return {
    ink: value("ink"),
    muted: value("muted"),
    faint: value("faint"),
    line: value("line"),
    panel: value("panel"),
    chosen: value("chosen"),
    selected: value("selected"),
    critical: value("critical"),
    stem: value("stem"),
    font: style.fontFamily,
    of,
  };
}

export interface Scene {
  solve: Solve;
  lanes: Lanes;
  scale: Scale;
  critical: Map<number, Chain>;
  peak: { branch: number; whole: number };
  selected: Lane | null;
  hovered: Lane | null;
  expanded: ReadonlySet<number>;
  width: number;
  height: number;
  /** Pixels that are scrolled away above. */
  top: number;
}

export function paint(context: CanvasRenderingContext2D, scene: Scene, colours: Palette): void {
  const { lanes, width, height, top } = scene;
  context.clearRect(0, 0, width, height);
  const first = firstBelow(lanes.lanes, top);
  const visible: Lane[] = [];
  for (let index = first; index < lanes.lanes.length; index++) {
    const lane = lanes.lanes[index]!;
    if (lane.y > top + height) break;
    visible.push(lane);
  }
  context.save();
  context.translate(0, AXIS - top);
  for (const lane of visible) background(context, scene, colours, lane);
  context.save();
  context.beginPath();
  context.rect(scene.scale.left, top, width - scene.scale.left, height);
  context.clip();
  grid(context, scene, colours);
  for (const lane of visible) stems(context, scene, colours, lane);
  for (const lane of visible) waveform(context, scene, colours, lane);
  for (const lane of visible) criticalLine(context, scene, colours, lane);
  for (const lane of visible) marks(context, scene, colours, lane);
  context.restore();
  for (const lane of visible) label(context, scene, colours, lane);
  context.restore();
  axis(context, scene, colours);
}

const middle = (lane: Lane): number => lane.y + lane.height / 2;

const colourOf = (colours: Palette, lane: Lane): string => {
  const found = branchStanding(lane.candidate, lane.branch);
  return found === null ? colours.stem : colours.of[found];
};

function background(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  const fill =
    lane === scene.selected
      ? colours.selected
      : lane.candidate.spec.index === scene.solve.outcome?.candidate
        ? colours.chosen
        : lane === scene.hovered
          ? colours.faint
          : "";
  if (!fill) return;
  context.fillStyle = fill;
  context.fillRect(0, lane.y, scene.width, lane.height);
}

function grid(context: CanvasRenderingContext2D, scene: Scene, colours: Palette): void {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const time of ticks(scene.scale, 90)) {
    const x = Math.round(xOf(scene.scale, time)) + 0.5;
    context.moveTo(x, scene.top);
    context.lineTo(x, scene.top + scene.height);
  }
  context.stroke();
  context.save();
  context.setLineDash([3, 4]);
  context.strokeStyle = colours.muted;
  context.beginPath();
  for (const { at } of scene.solve.rounds.slice(0, scene.solve.outcome ? -1 : undefined)) {
    const x = Math.round(xOf(scene.scale, at)) + 0.5;
    context.moveTo(x, scene.top);
    context.lineTo(x, scene.top + scene.height);
  }
  context.stroke();
  context.restore();
}

/** The way of a branch: thin where it decodes nothing, with arcs where it leaves its parent and comes back. */
function stems(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  context.strokeStyle = colourOf(colours, lane);
  context.globalAlpha = 0.55;
  context.lineWidth = 1.5;
  context.beginPath();
  way(context, scene, lane);
  context.stroke();
  context.globalAlpha = 1;
}

function way(context: CanvasRenderingContext2D, scene: Scene, lane: Lane): void {
  const { solve, lanes, scale } = scene;
  const y = middle(lane);
  const parent = lane.parent >= 0 ? lanes.lanes[lane.parent]! : null;
  const from = xOf(scale, lane.branch.opened);
  const to = xOf(scale, endOf(lane.candidate, lane.branch, solve.now));
  if (!parent) {
    context.moveTo(from, y);
    context.lineTo(to, y);
    return;
  }
  const above = middle(parent);
  const bend = Math.min(14, Math.max(2, (to - from) / 4));
  context.moveTo(from - bend / 2, above);
  context.bezierCurveTo(from + bend / 2, above, from - bend / 2, y, from + bend, y);
  context.lineTo(Math.max(to, from + bend), y);
  const block = blocksOf(lane.candidate, parent.branch).find(({ steps }) => steps.includes(keyOf(lane.branch.path)));
  if (lane.branch.closed === null || block?.join == null) return;
  const join = xOf(scale, block.join);
  context.lineTo(Math.max(to, join - bend), y);
  context.bezierCurveTo(join + bend / 2, y, join - bend / 2, above, join + bend, above);
}

/** Tokens a second as thickness. */
function waveform(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  const { scale, peak } = scene;
  const bins = Math.max(1, Math.floor((scale.right - scale.left) / BIN));
  const counts = density(shownBy(lane), scale, bins);
  const perBin = ((scale.to - scale.from) / bins) * (lane.whole ? peak.whole : peak.branch);
  const most = (lane.height - 8) / 2;
  const y = middle(lane);
  context.save();
  context.beginPath();
  for (const [from, to] of own(scene, lane)) {
    context.rect(xOf(scale, from) - 1, lane.y, xOf(scale, to) - xOf(scale, from) + 2, lane.height);
  }
  context.clip();
  context.fillStyle = colourOf(colours, lane);
  let start = -1;
  for (let bin = 0; bin <= bins; bin++) {
    const some = bin < bins && counts[bin]! > LEAST;
    if (some && start < 0) start = bin;
    if (some || start < 0) continue;
    context.beginPath();
    for (let at = start; at < bin; at++) context.lineTo(scale.left + (at + 0.5) * BIN, y - half(counts[at]!));
    for (let at = bin - 1; at >= start; at--) context.lineTo(scale.left + (at + 0.5) * BIN, y + half(counts[at]!));
    context.closePath();
    context.globalAlpha = 0.8;
    context.fill();
    context.globalAlpha = 1;
    start = -1;
  }
  context.restore();
  function half(count: number): number {
    return Math.max(0.75, Math.min(1, count / Math.max(1.15 * perBin, 1e-9)) * most);
  }
}

function criticalLine(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  const chain = scene.critical.get(lane.candidate.spec.index);
  if (!chain?.branches.has(keyOf(lane.branch.path))) return;
  context.strokeStyle = colours.critical;
  context.lineWidth = 2;
  context.beginPath();
  if (lane.whole || lane.parent >= 0) way(context, scene, lane);
  else {
    // The response itself is critical only while none of its blocks runs.
    for (const [from, to] of own(scene, lane)) {
      context.moveTo(xOf(scene.scale, from), middle(lane));
      context.lineTo(xOf(scene.scale, to), middle(lane));
    }
  }
  context.stroke();
}

/** Stretches in which what a lane shows decodes. */
function own(scene: Scene, { candidate, branch, whole }: Lane): [number, number][] {
  const end = endOf(candidate, branch, scene.solve.now);
  return whole ? [[branch.opened, end]] : decoding(candidate, branch, end);
}

function marks(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  const { candidate, branch } = lane;
  const y = middle(lane);
  if (branch.path.length === 0 && standing(candidate) === "aborted") {
    const x = xOf(scene.scale, endOf(candidate, branch, scene.solve.now));
    context.strokeStyle = colours.of.aborted;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, y - 7);
    context.lineTo(x, y + 7);
    context.moveTo(x + 4, y - 4);
    context.lineTo(x + 12, y + 4);
    context.moveTo(x + 12, y - 4);
    context.lineTo(x + 4, y + 4);
    context.stroke();
  }
  for (const { judgements } of shownBy(lane)) {
    for (const { at, verdict } of judgements) {
      seal(context, xOf(scene.scale, at), y, verdict.status, colours);
    }
  }
}

/** A verdict: a disk with a sign, so that colour is not all that tells. */
export function seal(context: CanvasRenderingContext2D, x: number, y: number, status: Standing, colours: Palette): void {
  context.fillStyle = colours.of[status];
  context.strokeStyle = colours.panel;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 8, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  context.strokeStyle = colours.panel;
  context.lineWidth = 1.8;
  context.lineCap = "round";
  context.beginPath();
  if (status === "pass") {
    context.moveTo(x - 3.5, y + 0.2);
    context.lineTo(x - 1, y + 2.8);
    context.lineTo(x + 3.6, y - 2.8);
  } else if (status === "fail") {
    context.moveTo(x - 2.7, y - 2.7);
    context.lineTo(x + 2.7, y + 2.7);
    context.moveTo(x + 2.7, y - 2.7);
    context.lineTo(x - 2.7, y + 2.7);
  } else {
    context.font = "700 10px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = colours.panel;
    context.fillText(status === "error" ? "!" : "?", x, y + 0.5);
  }
  context.stroke();
  context.lineCap = "butt";
}

function label(context: CanvasRenderingContext2D, scene: Scene, colours: Palette, lane: Lane): void {
  const { candidate, branch } = lane;
  const y = middle(lane) + 0.5;
  const room = scene.scale.left - 12;
  context.textBaseline = "middle";
  context.textAlign = "left";
  if (branch.path.length > 0) {
    const indent = 22 + 10 * branch.path.length;
    context.font = `11.5px ${colours.font}`;
    context.fillStyle = colours.muted;
    const step = branch.path.at(-1)!;
    context.fillText(clipped(context, branch.plan.replace(/^\d+:\s*/, "") || `step ${step[1]}`, room - indent), indent, y);
    return;
  }
  const chosen = scene.solve.outcome?.candidate === candidate.spec.index;
  if (candidate.branches.size > 1) chevron(context, 12, y - 0.5, scene.expanded.has(candidate.spec.index), colours);
  context.font = `${chosen ? 650 : 500} 12.5px ${colours.font}`;
  context.fillStyle = colours.ink;
  const name = `${candidate.spec.index}`;
  context.fillText(name, 24, y);
  const after = 24 + Math.max(18, context.measureText(name).width + 8);
  const now = standing(candidate);
  const said = candidate.finish?.answer?.replace(/\s+/g, " ") ?? (now === "running" ? "…" : now === "aborted" ? "aborted" : "no answer");
  context.fillStyle = candidate.finish?.answer ? colours.of[now] : colours.muted;
  context.fillText(clipped(context, said, room - after), after, y);
}

function chevron(context: CanvasRenderingContext2D, x: number, y: number, open: boolean, colours: Palette): void {
  context.strokeStyle = colours.muted;
  context.lineWidth = 1.6;
  context.beginPath();
  if (open) {
    context.moveTo(x - 3.5, y - 1.8);
    context.lineTo(x, y + 1.8);
    context.lineTo(x + 3.5, y - 1.8);
  } else {
    context.moveTo(x - 1.8, y - 3.5);
    context.lineTo(x + 1.8, y);
    context.lineTo(x - 1.8, y + 3.5);
  }
  context.stroke();
}

/** The text, cut with an ellipsis to so many pixels. */
function clipped(context: CanvasRenderingContext2D, text: string, room: number): string {
  let kept = text.slice(0, Math.max(0, Math.floor(room / 3)));
  if (kept.length === text.length && context.measureText(kept).width <= room) return kept;
  while (kept && context.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return kept ? `${kept}…` : "";
}

function axis(context: CanvasRenderingContext2D, scene: Scene, colours: Palette): void {
  context.fillStyle = colours.panel;
  context.fillRect(0, 0, scene.width, AXIS);
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, AXIS - 0.5);
  context.lineTo(scene.width, AXIS - 0.5);
  context.stroke();
  context.font = `11px ${colours.font}`;
  context.fillStyle = colours.muted;
  context.textBaseline = "middle";
  context.textAlign = "center";
  for (const time of ticks(scene.scale, 90)) {
    const x = xOf(scene.scale, time);
    if (x > scene.scale.left + 8 && x < scene.width - 16) context.fillText(seconds(time), x, AXIS / 2);
  }
}

export function seconds(time: number): string {
  if (time === 0) return "0";
  if (time < 0.001) return `${(time * 1e6).toPrecision(2)} µs`;
  if (time < 1) return `${Number((time * 1000).toPrecision(3))} ms`;
  if (time < 120) return `${Number(time.toPrecision(3))} s`;
  return `${Math.floor(time / 60)} min ${Math.round(time % 60)} s`;
}
