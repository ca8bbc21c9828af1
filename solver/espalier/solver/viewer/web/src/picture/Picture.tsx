// A solve as a picture: a canvas as large as what can be seen of it, over all that can be scrolled to.

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { criticalPath } from "../solve/critical";
import type { Path } from "../solve/model";
import { branchStanding, type Branch, type Candidate, endOf, keyOf, nameOf, type Solve, standing, type Standing } from "../solve/model";
import { type Lane, lanesOf, laneAt, peaks, type Scale, timeAt } from "./lanes";
import { plain } from "../rich/pieces";
import { AXIS, paint, palette, type Scene, seconds } from "./paint";

export interface Place {
  candidate: number;
  path: Path;
}

interface Props {
  solve: Solve;
  /** Grows whenever the solve has changed. */
  version: number;
  selected: Place | null;
  onSelect: (place: Place | null) => void;
  /** Details of the selection are wanted. */
  onOpen: () => void;
}

const FEW = 6;

export function Picture({ solve, version, selected, onSelect, onOpen }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [top, setTop] = useState(0);
  const [folded, setFolded] = useState<ReadonlyMap<number, boolean>>(new Map());
  const [window_, setWindow] = useState<[number, number] | null>(null);
  const [hover, setHover] = useState<{ lane: Lane; x: number; y: number } | null>(null);
  const theme = useTheme();

  const expanded = useMemo(() => {
    const few = solve.candidates.size <= FEW;
    const open = new Set<number>();
    for (const index of solve.candidates.keys()) {
      if (folded.get(index) ?? (few || index === solve.outcome?.candidate)) open.add(index);
    }
    return open;
  }, [solve, version, folded]);
  const lanes = useMemo(() => lanesOf(solve, expanded), [solve, version, expanded]);
  const critical = useMemo(() => criticalPath(solve), [solve, version]);
  const peak = useMemo(() => peaks(solve), [solve, version]);
  const standings = useMemo(() => standingsOf(solve), [solve, version]);
  const chosen = useMemo(
    () => lanes.lanes.find((lane) => isAt(lane, selected)) ?? lanes.lanes.find((lane) => lane.candidate.spec.index === selected?.candidate) ?? null,
    [lanes, selected],
  );

  const gutter = size.width < 560 ? 128 : size.width < 1100 ? 190 : 260;
  const end = Math.max(solve.now, 0.001);
  const scale: Scale = {
    from: window_?.[0] ?? 0,
    to: window_?.[1] ?? end,
    left: gutter,
    right: Math.max(gutter + 10, size.width - 24),
  };

  useLayoutEffect(() => {
    const element = frame.current!;
    const measure = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = canvas.current!;
    if (!size.width || !size.height) return;
    const ratio = (devicePixelRatio || 1) * zoomOf(element);
    element.width = Math.round(size.width * ratio);
    element.height = Math.round(size.height * ratio);
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    const hovered = hover?.lane ?? null;
    const scene: Scene = { solve, lanes, scale, critical, peak, selected: chosen, hovered, expanded, ...size, top };
    paint(context, scene, palette(element));
  }, [solve, version, lanes, size, top, chosen, hover, theme, window_]);

  const show = useCallback((lane: Lane) => {
    const element = frame.current!;
    const room = element.clientHeight - AXIS;
    if (lane.y < element.scrollTop) element.scrollTop = lane.y - 4;
    else if (lane.y + lane.height > element.scrollTop + room) element.scrollTop = lane.y + lane.height - room + 4;
  }, []);
  useEffect(() => {
    if (chosen) show(chosen);
  }, [chosen, show]);

  const fold = (index: number, open: boolean) => setFolded(new Map(folded).set(index, open));
  const select = (lane: Lane) => onSelect({ candidate: lane.candidate.spec.index, path: lane.branch.path });
  const zoom = (factor: number, centre = (scale.from + scale.to) / 2) => {
    const from = Math.max(0, centre - (centre - scale.from) * factor);
    const to = Math.min(end, centre + (scale.to - centre) * factor);
    if (to - from < 0.002) return;
    setWindow(from <= 0 && to >= end ? null : [from, to]);
  };
  const pan = (share: number) => {
    if (!window_) return;
    const length = scale.to - scale.from;
    const from = Math.min(Math.max(0, scale.from + share * length), end - length);
    setWindow([from, from + length]);
  };

  const under = (event: MouseEvent): { lane: Lane | null; x: number; y: number } => {
    const box = canvas.current!.getBoundingClientRect();
    const zoomed = zoomOf(canvas.current!);
    const [x, y] = [(event.clientX - box.left) / zoomed, (event.clientY - box.top) / zoomed];
    return { lane: y < AXIS ? null : laneAt(lanes.lanes, y - AXIS + frame.current!.scrollTop), x, y };
  };
  const click = (event: MouseEvent) => {
    const { lane, x } = under(event);
    if (!lane) return;
    const index = lane.candidate.spec.index;
    const root = lane.branch.path.length === 0;
    if (root && x < 22) fold(index, lane.whole);
    else {
      if (root && lane.whole && lane.candidate.branches.size > 1) fold(index, true);
      select(lane);
      onOpen();
    }
  };
  const move = (event: MouseEvent) => {
    const { lane, x, y } = under(event);
    setHover(lane && x > 0 ? { lane, x, y } : null);
  };
  const wheel = (event: WheelEvent) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(scale, under(event).x));
    } else if (window_ && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan(event.deltaX / 600);
    }
  };
  const key = (event: KeyboardEvent) => {
    const at = chosen ? lanes.lanes.indexOf(chosen) : -1;
    const go = (index: number) => {
      const lane = lanes.lanes[Math.min(Math.max(index, 0), lanes.lanes.length - 1)];
      if (lane) select(lane);
    };
    const actions: Record<string, () => void> = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at < 0 ? 0 : at - 1),
      PageDown: () => go(at + 12),
      PageUp: () => go(at - 12),
      Home: () => go(0),
      End: () => go(lanes.lanes.length - 1),
      ArrowRight: () => chosen?.whole && chosen.candidate.branches.size > 1 && fold(chosen.candidate.spec.index, true),
      ArrowLeft: () => {
        if (!chosen) return;
        if (chosen.parent >= 0) go(chosen.parent);
        else if (!chosen.whole) fold(chosen.candidate.spec.index, false);
      },
      Enter: () => chosen && onOpen(),
      " ": () => chosen && onOpen(),
      "+": () => zoom(0.7),
      "=": () => zoom(0.7),
      "-": () => zoom(1 / 0.7),
      "0": () => setWindow(null),
      "[": () => pan(-0.25),
      "]": () => pan(0.25),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  };

  return (
    <section class="card picture" aria-label="Picture of the solve">
      <header class="bar">
        <h2>Timeline</h2>
        <Legend standings={standings} />
        <span class="buttons">
          <button type="button" onClick={() => zoom(0.7)} aria-label="Zoom in" title="Zoom in (+)">+</button>
          <button type="button" onClick={() => zoom(1 / 0.7)} aria-label="Zoom out" title="Zoom out (−)">−</button>
          <button type="button" onClick={() => setWindow(null)} disabled={!window_} title="Whole solve (0)">Fit</button>
          <button
            type="button"
            onClick={() => setFolded(new Map([...solve.candidates.keys()].map((index) => [index, expanded.size === 0])))}
          >
            {expanded.size ? "Fold all" : "Unfold all"}
          </button>
        </span>
      </header>
      <div
        ref={frame}
        class="frame"
        style={{ height: `${Math.min(lanes.height + AXIS, 620)}px` }}
        role="listbox"
        tabIndex={0}
        aria-label="Candidates and their branches. Arrow keys move and unfold, Enter shows details, plus and minus zoom."
        aria-activedescendant={chosen ? "lane" : undefined}
        onScroll={() => setTop(frame.current!.scrollTop)}
        onClick={click}
        onMouseMove={move}
        onMouseLeave={() => setHover(null)}
        onWheel={wheel}
        onKeyDown={key}
      >
        <div style={{ height: `${lanes.height + AXIS}px` }}>
          <canvas ref={canvas} style={{ width: `${size.width}px`, height: `${size.height}px` }} />
        </div>
        {chosen && (
          <span id="lane" role="option" aria-selected="true" class="unseen">
            {spoken(solve, chosen.candidate, chosen.branch)}
          </span>
        )}
      </div>
      {hover && <Tip solve={solve} hover={hover} width={size.width} above={frame.current!.offsetTop} />}
    </section>
  );
}

interface TipProps {
  solve: Solve;
  hover: { lane: Lane; x: number; y: number };
  width: number;
  /** Pixels of the picture's head. */
  above: number;
}

function Tip({ solve, hover, width, above }: TipProps) {
  const { candidate, branch } = hover.lane;
  const judged = branch.judgements.at(-1);
  const tail = plain(branch.text.slice(-240)).replace(/\s+/g, " ").slice(-140);
  return (
    <div class="tip" style={{ left: `${Math.min(hover.x + 14, Math.max(0, width - 330))}px`, top: `${above + hover.y + 18}px` }}>
      <strong>
        Candidate {candidate.spec.index}
        {branch.path.length ? ` · ${nameOf(branch.path)}` : ""}
      </strong>
      {branch.plan && <em>{branch.plan.replace(/^\d+:\s*/, "").slice(0, 160)}</em>}
      <span>{facts(solve, candidate, branch)}</span>
      {judged && (
        <span class={`says ${judged.verdict.status}`}>
          {judged.verdict.status}: {judged.answer.slice(0, 80)}
        </span>
      )}
      {tail && <span class="tail">…{tail}</span>}
    </div>
  );
}

export function facts(solve: Solve, candidate: Candidate, branch: Branch): string {
  const end = endOf(candidate, branch, solve.now);
  const time = Math.max(end - branch.opened, 0.001);
  const count = branch.times.length;
  const parts = count ? [`${count} tokens`, `${Math.round(count / time)}/s`] : [];
  if (branch.positions) parts.push(`positions ${branch.positions.join("–")}`);
  parts.push(`${seconds(branch.opened)} – ${seconds(end)}`);
  return parts.join(" · ");
}

function spoken(solve: Solve, candidate: Candidate, branch: Branch): string {
  const how = branchStanding(candidate, branch) ?? "done";
  const answer = branch.path.length ? branch.judgements.at(-1)?.answer : candidate.finish?.answer;
  const forks = branch.path.length ? "" : `, ${candidate.branches.size - 1} branches`;
  return `Candidate ${candidate.spec.index}, ${nameOf(branch.path)}: ${how}${answer ? `, answer ${answer}` : ""}, ${facts(solve, candidate, branch)}${forks}`;
}

const ORDER: Standing[] = ["pass", "fail", "unknown", "error", "aborted", "running"];

/** What the picture has in it, and no more. */
function standingsOf(solve: Solve): Standing[] {
  const found = new Set<Standing>();
  for (const candidate of solve.candidates.values()) {
    found.add(standing(candidate));
    for (const { judgements } of candidate.branches.values()) for (const { verdict } of judgements) found.add(verdict.status);
  }
  return ORDER.filter((one) => found.has(one));
}

function Legend({ standings }: { standings: Standing[] }) {
  return (
    <ul class="legend" aria-label="Legend">
      {standings.map((one) => <li key={one}><i class={`dot ${one}`} />{one}</li>)}
      <li><i class="dash" />critical path</li>
      <li><i class="wave" />tokens/s</li>
    </ul>
  );
}

const isAt = (lane: Lane, place: Place | null): boolean =>
  place !== null && lane.candidate.spec.index === place.candidate && keyOf(lane.branch.path) === keyOf(place.path);

/** How much larger the style of the page draws an element than it was laid out. */
function zoomOf(element: HTMLElement): number {
  return element.getBoundingClientRect().width / element.clientWidth || 1;
}

/** Changes when the colours do. */
function useTheme(): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const change = () => setCount((before) => before + 1);
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", change);
    const observer = new MutationObserver(change);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
      media.removeEventListener("change", change);
      observer.disconnect();
    };
  }, []);
  return count;
}

export { standing };
