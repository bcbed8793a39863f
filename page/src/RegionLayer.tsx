// The regions on an image or above curves: chosen, moved, pulled and drawn with the mouse, a finger, or the keyboard.

import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import { fromScreen, toScreen, type Frame } from "./frame";
import {
  described,
  drawn,
  handlesOf,
  isTiny,
  labelAt,
  moved,
  rounded,
  stretched,
  withoutVertex,
  withVertex,
  type Kind,
  type Point,
  type Region,
} from "./regions";

export type Shape = Omit<Region, "name">;

export interface RegionLayerProps {
  frame: Frame;
  regions: Region[];
  /** The kind that is being drawn, if any. */
  tool?: Kind;
  chosen?: string;
  /** How far an arrow key moves: one pixel of an image, or one channel. */
  step: number;
  onChoose: (name: string | undefined) => void;
  /** Without it nothing can be changed; without a region it goes. */
  onChange?: (name: string, region: Region | undefined) => void;
  onDrawn?: (shape: Shape | undefined) => void;
}

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Pixels of the screen: what is smaller is a click, what is nearer is meant. */
const LEAST = 4;
const NEAR = 10;

export function RegionLayer(props: RegionLayerProps) {
  const { regions, tool } = props;
  return (
    <g className="regions" role="group" aria-label="regions">
      {regions.map((region) => (
        <RegionShape key={region.name} {...props} region={region} />
      ))}
      {tool && <Pencil key={tool} {...props} tool={tool} />}
    </g>
  );
}

function RegionShape({ frame, region, chosen, step, tool, onChoose, onChange }: RegionLayerProps & { region: Region }) {
  const [draft, setDraft] = useState<Region>();
  const held = useRef<{ at: Point; region: Region; handle?: number }>();
  const shown = draft ?? region;
  const isChosen = chosen === region.name;
  const isFixed = !onChange || tool !== undefined;
  const finish = (): void => {
    held.current = undefined;
    if (draft) {
      onChange?.(region.name, draft);
      setDraft(undefined);
    }
  };
  const take = (event: PointerEvent<SVGElement>, from = region, handle?: number): void => {
    event.stopPropagation();
    if (event.button !== 0 || tool) {
      return;
    }
    onChoose(region.name);
    if (!isFixed) {
      event.currentTarget.setPointerCapture(event.pointerId);
      held.current = { at: fromScreen(frame, placeOf(event)), region: from, handle };
    }
  };
  const pull = (event: PointerEvent<SVGElement>): void => {
    if (held.current) {
      const { at, region: before, handle } = held.current;
      const to = fromScreen(frame, placeOf(event));
      setDraft(handle === undefined ? moved(before, to[0] - at[0], to[1] - at[1]) : stretched(before, handle, to));
    }
  };
  const press = (event: KeyboardEvent<SVGElement>, handle?: number): void => {
    const arrow = ARROWS[event.key];
    if (event.key === "Escape") {
      held.current = undefined;
      setDraft(undefined);
      onChoose(undefined);
    } else if (event.key === "Enter" || event.key === " ") {
      onChoose(region.name);
    } else if (isFixed) {
      return;
    } else if (event.key === "Delete" || event.key === "Backspace") {
      onChange(
        region.name,
        handle !== undefined && region.type === "polygon" ? withoutVertex(region, handle) : undefined,
      );
    } else if (arrow) {
      const by = step * (event.shiftKey ? 10 : 1);
      const [dx, dy] = [arrow[0] * by, arrow[1] * by * Math.sign(frame.y[1])];
      const end = handle ?? (event.altKey ? (region.type === "range" ? 1 : 2) : undefined);
      const from = end === undefined ? undefined : handlesOf(shown)[end];
      setDraft(from ? stretched(shown, end!, [from[0] + dx, from[1] + dy]) : moved(shown, dx, dy));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const gestures = { onPointerMove: pull, onPointerUp: finish, onLostPointerCapture: finish, onKeyUp: finish };
  const [left, top] = toScreen(frame, labelAt(shown));
  return (
    <g className={`region ${isChosen ? "chosen" : ""} ${isFixed ? "fixed" : ""}`} data-region={region.name}>
      <path className="casing" d={outline(frame, shown)} />
      <path
        className="body"
        d={outline(frame, shown)}
        tabIndex={0}
        role="button"
        aria-pressed={isChosen}
        aria-label={`${region.name}, ${shown.type}, ${described(shown)}`}
        onPointerDown={(event) => take(event)}
        onKeyDown={(event) => press(event)}
        onFocus={() => onChoose(region.name)}
        {...gestures}
      />
      <text x={region.type === "range" ? left + 4 : left} y={region.type === "range" ? 14 : top - 6}>
        {region.name}
      </text>
      {isChosen &&
        !isFixed &&
        handlesOf(shown).map((point, handle) => {
          const [x, y] = toScreen(frame, point);
          return (
            <circle
              key={handle}
              className="handle"
              cx={x}
              cy={region.type === "range" ? frame.height / 2 : y}
              r={6}
              tabIndex={0}
              role="button"
              aria-label={`${region.type === "polygon" ? "vertex" : region.type === "range" ? "end" : "corner"} ${handle + 1} of ${region.name}`}
              onPointerDown={(event) => take(event, shown, handle)}
              onDoubleClick={() => region.type === "polygon" && onChange(region.name, withoutVertex(region, handle))}
              onKeyDown={(event) => press(event, handle)}
              {...gestures}
            />
          );
        })}
      {isChosen &&
        !isFixed &&
        !draft &&
        middlesOf(shown).map((point, after) => {
          const [x, y] = toScreen(frame, point);
          return (
            <circle
              key={after}
              className="middle"
              cx={x}
              cy={y}
              r={4}
              onPointerDown={(event) => {
                event.stopPropagation();
                onChange(region.name, withVertex(region, after, point));
              }}
            >
              <title>one more vertex</title>
            </circle>
          );
        })}
    </g>
  );
}

/** Draws a region: a rectangle or a range while the button is held, a polygon vertex by vertex. */
function Pencil({ frame, tool, onDrawn }: RegionLayerProps & { tool: Kind }) {
  const ground = useRef<SVGRectElement>(null);
  const [at, setAt] = useState<Point>();
  const placed = useRef<Point[]>([]); // a click may come before the last one is drawn
  const points = placed.current;
  const place = (next: Point[], now: Point | undefined): void => {
    placed.current = next;
    setAt(now && [...now]);
  };
  useEffect(() => ground.current?.focus({ preventScroll: true }), []);

  const close = (): void => {
    const vertices = placed.current;
    if (tool === "polygon" && vertices.length >= 3) {
      onDrawn?.(rounded({ type: tool, x: vertices.map(([x]) => x), y: vertices.map(([, y]) => y) }));
    }
  };
  const down = (event: PointerEvent<SVGElement>): void => {
    event.stopPropagation();
    if (event.button !== 0) {
      return;
    }
    const point = fromScreen(frame, placeOf(event));
    const points = placed.current;
    const first = points[0] && toScreen(frame, points[0]);
    if (tool === "polygon" && first && points.length >= 3 && distance(first, placeOf(event)) < NEAR) {
      close();
      return;
    }
    const last = points.at(-1);
    if (tool === "polygon" && last && distance(toScreen(frame, last), placeOf(event)) < LEAST) {
      return; // the second of a double click, which closes it
    }
    event.currentTarget.setPointerCapture(event.pointerId);
    place(tool === "polygon" ? [...points, point] : [point], point);
  };
  const up = (event: PointerEvent<SVGElement>): void => {
    const [first] = placed.current;
    if (tool === "polygon" || !first) {
      return;
    }
    const shape = drawn(tool, first, fromScreen(frame, placeOf(event)));
    place([], undefined);
    if (!isTiny({ ...shape, x: shape.x.map((x) => x * frame.x[1]), y: shape.y.map((y) => y * frame.y[1]) }, LEAST)) {
      onDrawn?.(shape);
    }
  };
  const press = (event: KeyboardEvent): void => {
    if (event.key === "Escape") {
      onDrawn?.(undefined);
    } else if (event.key === "Enter" && tool === "polygon" && placed.current.length > 0) {
      close();
    } else if (event.key === "Enter") {
      onDrawn?.(inTheMiddle(frame, tool));
    } else if (event.key === "Backspace") {
      place(placed.current.slice(0, -1), at);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const sketch =
    tool === "polygon"
      ? {
          type: tool,
          x: [...points, at ?? []].flatMap(([x]) => x ?? []),
          y: [...points, at ?? []].flatMap(([, y]) => y ?? []),
        }
      : points[0] && at && drawn(tool, points[0], at);
  return (
    <>
      {sketch && points.length > 0 && <path className="casing" d={outline(frame, sketch)} />}
      {sketch && points.length > 0 && <path className="sketch" d={outline(frame, sketch)} />}
      {tool === "polygon" && points.map((point, number) => <Dot key={number} place={toScreen(frame, point)} />)}
      <rect
        className="ground"
        ref={ground}
        width={frame.width}
        height={frame.height}
        tabIndex={0}
        role="button"
        aria-label={`Draw a ${tool}: Enter puts one in the middle, Escape leaves it`}
        onPointerDown={down}
        onPointerMove={(event) => setAt(fromScreen(frame, placeOf(event)))}
        onPointerUp={up}
        onDoubleClick={close}
        onKeyDown={press}
      />
    </>
  );
}

function Dot({ place: [x, y] }: { place: Point }) {
  return <circle className="dot" cx={x} cy={y} r={4} />;
}

/** A region in the middle of what is seen, a quarter as large. */
export function inTheMiddle(frame: Frame, type: Kind): Shape {
  const { width, height } = frame;
  const [first, last] = [0.375, 0.625].map((part) => fromScreen(frame, [part * width, part * height])) as [
    Point,
    Point,
  ];
  if (type !== "polygon") {
    return drawn(type, first, last);
  }
  const { x, y } = drawn("rectangle", first, last);
  return { type, x: [x[0]!, x[1]!, x[1]!, x[0]!], y: [y[0]!, y[0]!, y[1]!, y[1]!] };
}

function outline(frame: Frame, shape: Shape): string {
  if (shape.type === "range") {
    const [x0, x1] = shape.x.map((x) => toScreen(frame, [x, 0])[0]) as [number, number];
    return `M${x0},0H${x1}V${frame.height}H${x0}Z`;
  }
  return `M${handlesOf(shape)
    .map((point) => toScreen(frame, point).join())
    .join("L")}Z`;
}

function middlesOf(region: Region): Point[] {
  const points = region.type === "polygon" ? handlesOf(region) : [];
  return points.map(([x, y], at) => {
    const [nextX, nextY] = points[(at + 1) % points.length]!;
    return [(x + nextX) / 2, (y + nextY) / 2];
  });
}

/** Where in the drawing the pointer is. */
function placeOf({ clientX, clientY, currentTarget }: PointerEvent<SVGElement>): Point {
  const { left, top } = (currentTarget.ownerSVGElement ?? currentTarget).getBoundingClientRect();
  return [clientX - left, clientY - top];
}

function distance([x, y]: Point, [otherX, otherY]: Point): number {
  return Math.hypot(x - otherX, y - otherY);
}
